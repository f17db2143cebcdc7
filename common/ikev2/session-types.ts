/** What goes into an IKE session and what comes out of it. */

import type { X509Certificate } from "node:crypto";
import type { Encapsulation, SecurityAssociationKeys } from "../tunnel/tunnel.ts";
import type { ChildSuite, IkeSuite } from "./algorithms.ts";
import type { Credential, Distrust, Trust } from "./authentication.ts";
import type { DropReason } from "./ike-sa.ts";
import type { RandomSource } from "./key-agreement.ts";
import type { IkeKeys } from "./keys.ts";
import type { Assignment, LinkOffer, LinkRequest } from "./link.ts";
import type { NatVerdict, Path } from "./nat-detection.ts";
import type { RetransmissionTimes } from "./retransmission.ts";
import type { IkeSpi } from "./wire/header.ts";
import type { Identification } from "./wire/payloads/identification.ts";
import type { TrafficSelector } from "./wire/payloads/traffic-selectors.ts";

export interface SessionSettings {
  /** In order of preference; at least one. */
  readonly ikeSuites: readonly IkeSuite[];
  readonly childSuites: readonly ChildSuite[];
  readonly times: RetransmissionTimes;
  /** Octets of an IKE message beyond which it goes in fragments. */
  readonly fragmentLimit: number;
  /** Silence after which the peer is asked whether it lives; 0 is never. */
  readonly probeIntervalMs: number;
  /** Age at which the IKE SA is rekeyed; 0 is never. */
  readonly ikeLifetimeMs: number;
  /** Behind a NAT: how often it is reminded of us (RFC 3948 section 4 says 20 s); 0 is never. */
  readonly keepaliveMs: number;
  /** Use UDP encapsulation even without a NAT. */
  readonly forceEncapsulation: boolean;
  /** Tell the keys, for tshark. Never but when someone debugs. */
  readonly revealKeys: boolean;
}

/** What a home knows: whom to be, and whom to believe. */
export interface HomeOptions {
  readonly identity: Identification;
  readonly credential: Credential;
  readonly peerIdentity: Identification;
  readonly trust: Trust;
  readonly link: LinkRequest;
  /** No other IKE SA to this gateway is meant to live: not when authenticating again. */
  readonly initialContact: boolean;
  /** After how long the home authenticates again by itself; absent: when the gateway asks. */
  readonly reauthenticateMs?: number;
  /** Age at which a Child SA is rekeyed; absent: age is no reason, so that who is silent stays silent. */
  readonly childLifetimeMs?: number;
  /** Ask each gateway for an SA for multicast beside the link's (the seed's section 6.4); absent: do not. */
  readonly multicast?: boolean;
}

/** What a gateway knows of one home. */
export interface PeerPolicy {
  /** Ours. */
  readonly identity: Identification;
  readonly credential: Credential;
  readonly trust: Trust;
  readonly link: LinkOffer;
  /** The home may have an SA for multicast (the seed's section 6.4). */
  readonly multicast: boolean;
  /** Seconds until the home shall have authenticated again, or else the IKE SA ends (RFC 4478). */
  readonly authLifetime?: number;
  /** Age at which a Child SA is rekeyed; absent: age is no reason. */
  readonly childLifetimeMs?: number;
}

/** Where a gateway looks things up. */
export interface Directory {
  /** Of all the homes that prove themselves with certificates: who they are is not known yet when we ask. */
  readonly authorities: readonly X509Certificate[];
  /** Undefined: nobody we know. */
  findPeer(identity: Identification, wanted: Identification | undefined): PeerPolicy | undefined;
  /** The Link ID for this identity: the one it asks for, if that is its own, or a new one. */
  claimLink(identity: Identification, requested: Uint8Array): Uint8Array;
}

export interface SessionPorts {
  readonly random: RandomSource;
  /** An inbound ESP SPI that nobody uses: 256 to 2^32 - 1. */
  readonly allocateSpi: () => number;
}

/** A pair of ESP SAs. Secret: never logged or printed. */
export interface ChildSa {
  readonly inbound: SecurityAssociationKeys;
  readonly outbound: SecurityAssociationKeys;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  readonly encapsulation: Encapsulation;
}

/** A datagram that holds an IKE message. */
export interface MessageInput {
  readonly kind: "message";
  /** Without the non-ESP marker. */
  readonly message: Uint8Array;
  /** As it came: `local` is where it was received. */
  readonly path: Path;
  /** It came on the port where IKE messages have a marker, RFC 3948. */
  readonly encapsulated: boolean;
  /** Milliseconds since the epoch. */
  readonly wallTime: number;
}

/** Another Child SA, such as the one for multicast. */
export interface CreateChildInput {
  readonly kind: "create-child";
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
}

export type SessionInput =
  /** Of a home: begin. */
  | { readonly kind: "start" }
  | MessageInput
  /** The soft limit of a Child SA is reached; or it is not wanted any more. By its inbound SPI. */
  | { readonly kind: "rekey-child" | "delete-child"; readonly spi: number }
  /** `probe`: is the peer there? */
  | { readonly kind: "rekey-ike" | "probe" }
  | CreateChildInput
  /** Of a gateway: the home shall authenticate again within so many seconds. */
  | { readonly kind: "ask-reauthentication"; readonly seconds: number }
  /** One of the two addresses is another now. */
  | { readonly kind: "moved"; readonly path: Partial<Path> }
  | { readonly kind: "close" }
  /** The peer has begun anew: end without a word. */
  | { readonly kind: "abandon" };

export type CloseReason =
  | { readonly kind: "asked" }
  /** It was to be closed, and the peer has lost it. */
  | { readonly kind: "lost-by-peer" }
  | { readonly kind: "abandoned" }
  | { readonly kind: "by-peer" }
  | { readonly kind: "timeout" }
  /** IKE_AUTH did not come in time. */
  | { readonly kind: "half-open" }
  /** The peer refuses: a notification's number. */
  | { readonly kind: "refused"; readonly notifyType: number }
  | { readonly kind: "not-authentic"; readonly why: Distrust | "unknown-identity" }
  | { readonly kind: "protocol-error"; readonly code: string };

export type SessionEffect =
  | {
      readonly kind: "send";
      readonly path: Path;
      /** Put the non-ESP marker before it. */
      readonly encapsulated: boolean;
      readonly message: Uint8Array;
    }
  /** Send one octet 0xff, without marker, from the port for UDP encapsulation (RFC 3948 section 2.3). */
  | { readonly kind: "keepalive"; readonly path: Path }
  /** Messages with this SPI are this session's from now on; and not any more. */
  | { readonly kind: "listen" | "unlisten"; readonly spi: IkeSpi }
  | {
      readonly kind: "established";
      readonly peer: Identification;
      /** What protects the IKE messages. */
      readonly suite: IkeSuite;
      readonly initialContact: boolean;
      /** Undefined when the peer gave none; then there is no Child SA either. */
      readonly assignment: Assignment | undefined;
      readonly nat: NatVerdict;
    }
  | {
      readonly kind: "child-created";
      readonly child: ChildSa;
      /** Inbound SPI of the one it follows. */
      readonly replaces: number | undefined;
      /**
       * `deferred`: the peer may not be ready to receive. As long as there is an older one for the same link, of
       * this session or of the one before it, send with that; until `child-outbound`, or until the older is
       * deleted, or until an authentic packet comes with this one (RFC 7296 section 2.8).
       */
      readonly outbound: "now" | "deferred";
    }
  | { readonly kind: "child-outbound"; readonly spi: number }
  /**
   * `unagreed`: the peer has lost the IKE SA, and may send with the Child SA until it finds that the next one is in use:
   * what comes with it is to be received for a while.
   */
  | { readonly kind: "child-deleted"; readonly spi: number; readonly unagreed?: true }
  /** No Child SA: a notification's number. The IKE SA stays. */
  | {
      readonly kind: "child-refused";
      readonly notifyType: number;
      readonly rekeyed: number | undefined;
    }
  | { readonly kind: "ike-rekeyed"; readonly suite: IkeSuite }
  /** The gateway wants the home to authenticate again. */
  | { readonly kind: "reauthenticate"; readonly withinMs: number }
  /** The peer's messages come from elsewhere now. */
  | { readonly kind: "peer-moved"; readonly path: Path }
  /** Not authenticated: to be told, not to be believed. */
  | { readonly kind: "hint"; readonly notifyType: number }
  | { readonly kind: "dropped"; readonly reason: DropReason | "unknown-spi" }
  | {
      readonly kind: "keys";
      readonly initiatorSpi: IkeSpi;
      readonly responderSpi: IkeSpi;
      readonly suite: IkeSuite;
      readonly keys: IkeKeys;
    }
  /** The end; `child-deleted` came for each Child SA. */
  | { readonly kind: "closed"; readonly reason: CloseReason };
