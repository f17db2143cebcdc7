/**
 * The port behind which packets are carried. Two implementations: `kernel` (xfrm interface and states) and
 * `userspace` (TUN and ESP in this process). All above it is the same code.
 */

import type { Ipv4Address } from "../ip/address.ts";
import type { Instant } from "../time.ts";
import type { Endpoint, MulticastDirection, SaKeys, TunnelName, TunnelSpec } from "./tunnel.ts";

/** Whether inner packets may be sent to the remote endpoint. */
export type Sending =
  /** All of them. */
  | "open"
  /** Neighbor Discovery and echo on the link only: whether a home is there is being asked, not assumed. */
  | "probes-only";

/** Why the data plane refused a packet; the counters' names. */
export type RefusalReason =
  | "malformed"
  | "unknown-spi"
  /** IKE beyond the rate at which it is looked at. */
  | "ike-rate"
  /** By the kernel, before anybody looked at it: a flood is thinned out, or the queue was full. */
  | "shed"
  | "replayed"
  | "too-old"
  | "not-authentic"
  | "dummy"
  | "unexpected-next-header"
  | "inner-malformed"
  | "inner-source"
  | "inner-destination"
  | "advertisement-rate"
  /** An advertisement that a later one has overtaken. */
  | "advertisement-late"
  | "no-remote"
  /** No keys have been negotiated yet. */
  | "no-association"
  | "held"
  | "too-big"
  | "send-failed"
  | "sequence-exhausted"
  | "write-failed";

/** How often each reason was met; reasons never met are absent. */
export type RefusalCounts = Readonly<Partial<Record<RefusalReason, number>>>;

/** What passed through one tunnel since it was made. */
export interface TunnelCounters {
  readonly sentPackets: number;
  readonly sentOctets: number;
  readonly receivedPackets: number;
  readonly receivedOctets: number;
  readonly refused: RefusalCounts;
  /** When inner packets last went out, and when an authentic packet last came; absent before the first. */
  readonly sentAt: Instant | undefined;
  readonly heardAt: Instant | undefined;
  /** Outer source of the last authentic packet. */
  readonly observedSource: Endpoint | undefined;
}

/** Of a tunnel that does not stand. */
export const NO_TRAFFIC: TunnelCounters = {
  sentPackets: 0,
  sentOctets: 0,
  receivedPackets: 0,
  receivedOctets: 0,
  refused: {},
  sentAt: undefined,
  heardAt: undefined,
  observedSource: undefined,
};

export type DataPlaneEvent =
  /** An authentic packet came through a tunnel whose sending is `probes-only`; once a second at most. */
  | { readonly kind: "heard"; readonly tunnel: TunnelName }
  /**
   * Authentic packets in UDP come from elsewhere than the tunnel's go to, as when a NAT on the way changes its mapping.
   * Once a second at most for each place; the newest packet counts where the plane can tell.
   */
  | { readonly kind: "source"; readonly tunnel: TunnelName; readonly source: Endpoint }
  /**
   * An advertisement came out of a tunnel and waits in the socket that listens for them. Told at once, before
   * anything more is sent: what the kernel already answers must go where the advertisement says.
   */
  | { readonly kind: "advertised" }
  /** So much was sent with a negotiated pair of SAs that others should follow; told once a pair. */
  | { readonly kind: "soft-limit"; readonly tunnel: TunnelName; readonly spi: number }
  /** The network says that packets of the tunnel's present MTU do not fit the path. */
  | { readonly kind: "path-mtu"; readonly tunnel: TunnelName }
  /** Somebody deleted the tunnel's interface; it stands again, with another index. */
  | { readonly kind: "rebuilt"; readonly tunnel: TunnelName }
  /** A tunnel cannot be what it should be; the others can. */
  | { readonly kind: "trouble"; readonly tunnel: TunnelName; readonly error: Error }
  /** The plane cannot go on, such as when the disk refuses what must not be lost. */
  | { readonly kind: "failed"; readonly error: Error };

/** How much may be sent with one negotiated SA before another is asked for. */
export interface SoftLimit {
  readonly packets: number;
  /** Of inner packets. */
  readonly octets: number;
}

/** How far a negotiated pair of SAs is used up. */
export interface AssociationUse {
  /** The inbound one. */
  readonly spi: number;
  /** What is sent goes with this pair. */
  readonly isSentWith: boolean;
  /** Until the soft limit. */
  readonly packetsLeft: number;
  readonly octetsLeft: number;
  /** Absent: the pair is the link's. */
  readonly multicast?: MulticastDirection | undefined;
}

/** A pair of SAs that an earlier process negotiated, and that stands. */
export interface StandingAssociations {
  /** SPIs. */
  readonly inbound: number;
  readonly outbound: number;
  /** `keyOctets` of the pair. Secret. */
  readonly keys: Uint8Array;
  readonly multicast?: MulticastDirection | undefined;
}

/** An IKE message as it came in, or goes out, on the port for UDP encapsulation; without the non-ESP marker. */
export interface IkeDatagram {
  readonly message: Uint8Array;
  readonly remote: Endpoint;
}

/**
 * What key negotiation asks of a data plane: pairs of SAs that come and go, and the port that IKE shares with ESP
 * (RFC 3948). Their sequence numbers live as long as what carries the packets: after that, others are negotiated.
 *
 * A tunnel receives with all of its pairs and sends with one. The first is sent with at once; another when it is
 * told to, when an authentic packet came with it, or when the one that was sent with is removed (RFC 7296 section
 * 2.8). It never goes back to an older one.
 *
 * Pairs for multicast are apart: what is sent to ff00::/8 goes with one of these where there is one, chosen in the same
 * way among them, and nothing else ever does.
 */
export interface KeyedDataPlane {
  /**
   * Before the first `apply`: `heir` is asked of each pair that stands from before this process, and gives the limit up to
   * which its tunnel goes on with it, or refuses it. Absent: no pair outlives the process. RFC 7296 has no such thing:
   * the one who goes on must know whom he has before him.
   */
  inherit?(heir: (tunnel: TunnelName, pair: StandingAssociations) => SoftLimit | undefined): void;
  addAssociations(tunnel: TunnelName, keys: SaKeys, limit: SoftLimit): void;
  /** Sends with the pair of this inbound SPI from now on. */
  useAssociations(tunnel: TunnelName, spi: number): void;
  removeAssociations(tunnel: TunnelName, spi: number): void;
  /** The pairs that a tunnel has, the oldest first. */
  associations(tunnel: TunnelName): readonly AssociationUse[];
  /** From now on the port is open, even while there is no tunnel. Throws `SystemError`. */
  listenForIke(listener: (datagram: IkeDatagram) => void): void;
  sendIke(datagram: IkeDatagram): void;
  /** One octet to a NAT on the way, RFC 3948 section 2.3. */
  sendIkeKeepalive(remote: Endpoint): void;
}

export interface DataPlane {
  readonly kind: "kernel" | "userspace";
  /** How it encrypts, for people, such as `OpenSSL 3.0.17`. */
  readonly crypto: string;
  /** Why it is this one, for people. */
  readonly reason?: string | undefined;
  /** Absent: this plane takes no negotiated keys. */
  readonly keyed?: KeyedDataPlane;
  /**
   * Makes exactly these tunnels stand: creates, changes and removes what differs, leaves the rest untouched.
   * Applying twice changes nothing. A tunnel that cannot stand is told as `trouble`, and tried again next time. Throws
   * `ConfigError`, before anything is changed, for keys that were used up, and `SystemError` when none can stand.
   *
   * The calls below are for tunnels that stand; for others they do nothing, since a tunnel may go at any time.
   */
  apply(wanted: readonly TunnelSpec[]): Promise<void>;
  /**
   * Our own address, on a machine where it changes: what goes out after this call comes from there. A plane that lets
   * the route choose needs not be told.
   */
  setLocal(address: Ipv4Address): void;
  /** The hot operation: where a tunnel's ESP is sent from now on. Nothing is rebuilt, no counter changes. */
  setRemote(tunnel: TunnelName, remote: Endpoint | undefined): void;
  /**
   * Sends now what was just put into the tunnel's interface, and does not wait for the event loop. A plane whose packets
   * do not pass through this process needs not.
   */
  hasten?(tunnel: TunnelName): void;
  setSending(tunnel: TunnelName, sending: Sending): void;
  /** Octets. Throws `SystemError`. */
  setMtu(tunnel: TunnelName, mtu: number): Promise<void>;
  /** One octet through the NAT on the way, RFC 3948 section 2.3; nothing with encapsulation `esp`. */
  sendKeepalive(tunnel: TunnelName): void;
  counters(tunnel: TunnelName): TunnelCounters;
  /** Packets that no tunnel can be named for, by reason. */
  unattributed(): RefusalCounts;
  /** Index of a tunnel's interface, 0 when it does not stand, by which Neighbor Discovery messages find their tunnel. */
  interfaceIndex(tunnel: TunnelName): number;
  onEvent(listener: (event: DataPlaneEvent) => void): void;
  /** Begins to make durable what was received so far, so that not even a power cut lets it be accepted again. */
  flush(): void;
  /** Removes the tunnels' interfaces and stops. */
  close(): Promise<void>;
}
