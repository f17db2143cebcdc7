/**
 * What one tunnel is in the kernel: two states (more while keys are renewed), and the policies that say which inner
 * packets they are for.
 *
 * - Every policy carries the number of the tunnel's xfrm interface, so it sees that interface's packets and no others.
 * - `out` policies name both outer addresses, since the kernel finds the state by them and MIGRATE moves both at
 *   once. One for each prefix that is behind us: a source of neither finds no policy, and an xfrm interface drops
 *   what finds none.
 * - `in` and `forward` policies pin the inner source to the peer's link-local address and prefixes. What they do not
 *   let pass is counted as XfrmInNoPols. Where the peer's prefixes hold ours (a home's peer is the whole Internet),
 *   policies that block what claims to come from our own side go before them.
 * - A machine whose own address never changes, the server, takes ESP from anywhere: the state's source is 0.0.0.0
 *   and the templates are any. A home's inbound state moves with its address, and the policy for the peer's
 *   link-local address names it so that MIGRATE can find it.
 * - States for multicast have a request id of their own, and policies for ff00::/8 that ask for it: a server's `out`, a
 *   home's `in` and `forward`. A home without such states takes groups of the link only. What comes with them and is for
 *   anything else finds a policy that asks for the other states, and is counted as XfrmInTmplMismatch.
 */

import { type Ipv4Address, type Ipv6Address, type Ipv6Prefix, isInPrefix } from "../ip/address.ts";
import { IpProtocol } from "../ip/ipv6.ts";
import type { Sending } from "../tunnel/data-plane.ts";
import {
  type Encapsulation,
  type Endpoint,
  type MulticastDirection,
  requireKeys,
  type SecurityAssociationKeys,
  type TunnelSpec,
  UDP_ENCAPSULATION_PORT,
} from "../tunnel/tunnel.ts";
import { algorithmsOf } from "./algorithm.ts";
import { multicastRequestId } from "./interface-id.ts";
import { XfrmMode } from "./message-type.ts";
import type { PolicyDirectionName, PolicyTemplate, XfrmPolicy } from "./policy-message.ts";
import { freshReplayState } from "./replay-state.ts";
import { ipv6Selector } from "./selector.ts";
import {
  type EncapsulationTemplate,
  ESP_IN_UDP,
  ESP_PROTOCOL,
  type Lifetime,
  StateFlag,
  type XfrmState,
} from "./state-message.ts";

/** Packets. The kernel's largest is 4,096; this is what the userspace plane has. */
export const REPLAY_WINDOW = 1024;
/** Below this nothing may be cut from an IPv6 packet, so its ESP packet must be allowed to be. */
const MIN_MTU = 1280;
/** Seconds between two events that tell of another outer source, RFC 3948's moving NATs. */
const MAPPING_THRESHOLD = 1;

/** Lower goes first. */
const Priority = { peer: 10, block: 20, prefix: 30 } as const;
/** So much before what goes anywhere from the same source goes what goes to groups, and to those of the link. */
const BEFORE_ANYWHERE = { groups: 1, linkGroups: 2 } as const;

const GROUPS: Ipv6Prefix = { address: "ff00::" as Ipv6Address, length: 8 };
const LINK_GROUPS: Ipv6Prefix = { address: "ff02::" as Ipv6Address, length: 16 };
/** In a template. */
const ANY_REQUEST = 0;

const ANY = "0.0.0.0" as Ipv4Address;
const LINK_LOCAL: Ipv6Prefix = { address: "fe80::" as Ipv6Address, length: 10 };
const UNSPECIFIED: Ipv6Prefix = { address: "::" as Ipv6Address, length: 128 };

/** Where a tunnel is attached now. */
export interface Attachment {
  /** Of the xfrm interface, and the request id of the states; unique in the network namespace. */
  readonly interfaceId: number;
  /** Our own address: `fixed` ones never change. */
  readonly local: { readonly address: Ipv4Address | undefined; readonly fixed: boolean };
  readonly remote: Endpoint | undefined;
  readonly sending: Sending;
}

/** The sequence numbers new states begin with; standing ones keep theirs. */
export interface SequenceStart {
  /** The last number sent. */
  readonly sent: number;
  /** The highest number received. */
  readonly received: number;
}

/** What is to stand for one tunnel. */
export interface WantedXfrm {
  /** Absent where no keys have been negotiated. */
  readonly outbound?: XfrmState | undefined;
  /** What sends to groups, where there is a pair for that. */
  readonly multicast?: XfrmState | undefined;
  /** Moves by MIGRATE, as `outbound` does. */
  readonly inbound?: XfrmState | undefined;
  /** Inbound states of negotiated keys: as many as there are pairs, and none of them has a policy to move by. */
  readonly negotiated?: readonly XfrmState[];
  readonly policies: readonly XfrmPolicy[];
}

/** A tunnel with the configuration's keys. */
export interface XfrmTunnel extends WantedXfrm {
  readonly outbound: XfrmState;
  readonly inbound: XfrmState;
}

/** The keys of one state. Secret: never logged or printed. */
export type StateKeys = Pick<XfrmState, "spi" | "flags" | "algorithms">;

/** Negotiated keys: the pair that is sent with, and that for groups, and all that are received with. */
export interface NegotiatedXfrm {
  readonly outbound: SendingKeys | undefined;
  readonly multicast: SendingKeys | undefined;
  readonly inbound: readonly NegotiatedKeys[];
}

/** Each pair has the encapsulation that its path asked for. */
export type NegotiatedKeys = StateKeys & {
  readonly encapsulation: Encapsulation;
  readonly multicast: MulticastDirection | undefined;
};

type SendingKeys = NegotiatedKeys & { readonly lifetime: Lifetime };

export function xfrmTunnel(
  spec: TunnelSpec,
  attachment: Attachment,
  start: SequenceStart = { sent: 0, received: 0 },
): XfrmTunnel {
  const keys = requireKeys(spec);
  return {
    outbound: {
      ...outboundPlace(attachment, spec.encapsulation),
      ...keyed(stateKeys(keys.outbound), spec.mtu),
      replay: freshReplayState({ sent: start.sent, received: 0, window: REPLAY_WINDOW }),
    },
    inbound: {
      ...inboundPlace(attachment, spec.encapsulation),
      ...keyed(stateKeys(keys.inbound), spec.mtu),
      replay: freshReplayState({ sent: 0, received: start.received, window: REPLAY_WINDOW }),
    },
    policies: policiesOf(spec, attachment, { hasKeys: true, pinsInbound: true }),
  };
}

/**
 * A tunnel with negotiated keys. It has one outbound state, and one for groups, so that the pair that is sent with is
 * ours to choose: of two the kernel would take the younger. While there is none, what would leave is blocked.
 */
export function negotiatedXfrm(
  spec: TunnelSpec,
  attachment: Attachment,
  { outbound, multicast, inbound }: NegotiatedXfrm,
): WantedXfrm {
  const replay = freshReplayState({ sent: 0, received: 0, window: REPLAY_WINDOW });
  const sending = (keys: SendingKeys): XfrmState => ({
    ...outboundPlace(attachment, keys.encapsulation),
    ...requestedBy(attachment, keys),
    ...keyed(keys, spec.mtu),
    lifetime: keys.lifetime,
    replay,
  });
  const hasPair = inbound.some((keys) => keys.multicast === "inbound");
  const groupsOfServer = multicast === undefined ? [] : groupsSent(spec, attachment);
  return {
    outbound: outbound && sending(outbound),
    multicast: multicast && sending(multicast),
    negotiated: inbound.map((keys) => ({
      ...inboundPlace(attachment, keys.encapsulation),
      ...requestedBy(attachment, keys),
      ...keyed(keys, spec.mtu),
      // Told of its first packet: then the peer receives with this pair too.
      lifetime: { softPackets: 1 },
      replay,
    })),
    policies: [
      ...policiesOf(spec, attachment, { hasKeys: outbound !== undefined, pinsInbound: false }),
      ...(isHome(spec) ? groupsTaken(spec, attachment, hasPair) : groupsOfServer),
    ],
  };
}

/** Of any state with these keys. */
export function stateKeys(keys: SecurityAssociationKeys): StateKeys {
  return {
    spi: keys.spi,
    flags: keys.extendedSequenceNumbers ? StateFlag.extendedSequenceNumbers : 0,
    algorithms: algorithmsOf(keys),
  };
}

function outboundPlace(attachment: Attachment, encapsulation: Encapsulation) {
  const { here, there, port } = endsOf(attachment);
  return {
    ...commonOf(attachment),
    source: here,
    destination: there,
    encapsulation: encapsulation === "udp" ? espInUdp(UDP_ENCAPSULATION_PORT, port) : undefined,
  };
}

function inboundPlace(attachment: Attachment, encapsulation: Encapsulation) {
  const { here, there, port } = endsOf(attachment);
  const inUdp = encapsulation === "udp";
  return {
    ...commonOf(attachment),
    source: attachment.local.fixed ? ANY : there,
    destination: here,
    encapsulation: inUdp ? espInUdp(port, UDP_ENCAPSULATION_PORT) : undefined,
    mappingThreshold: inUdp ? MAPPING_THRESHOLD : undefined,
  };
}

function endsOf({ interfaceId, local, remote }: Attachment) {
  return {
    here: local.address ?? nowhere(interfaceId, "local"),
    there: remote?.address ?? nowhere(interfaceId, "remote"),
    port: remote?.port ?? UDP_ENCAPSULATION_PORT,
  };
}

function commonOf({ interfaceId }: Attachment) {
  return {
    protocol: ESP_PROTOCOL,
    requestId: interfaceId,
    mode: XfrmMode.tunnel,
    selector: ipv6Selector(),
    interfaceId,
    lifetime: {},
  };
}

function requestedBy({ interfaceId }: Attachment, { multicast }: NegotiatedKeys) {
  return multicast === undefined ? {} : { requestId: multicastRequestId(interfaceId) };
}

/**
 * An address that is nobody's and no other tunnel's, for states whose end is not known yet: 0.0.0.0/8 says "this
 * network" (RFC 6890), and a policy blocks what would be sent there. Two states may not share SPI and destination, and
 * the two ends must differ: MIGRATE finds a state by both, and the inbound one has them the other way round.
 */
export function nowhere(interfaceId: number, end: "local" | "remote"): Ipv4Address {
  const number = (interfaceId & 0xff_ffff) ^ (end === "local" ? 0x80_0000 : 0);
  return `0.${number >>> 16}.${(number >>> 8) & 0xff}.${number & 0xff}` as Ipv4Address;
}

export function isNowhere(address: string): boolean {
  return address.startsWith("0.");
}

function policiesOf(
  spec: TunnelSpec,
  attachment: Attachment,
  { hasKeys, pinsInbound }: { readonly hasKeys: boolean; readonly pinsInbound: boolean },
): XfrmPolicy[] {
  const { interfaceId, local, remote, sending } = attachment;
  const { here, there } = endsOf(attachment);
  const outward = template(interfaceId, here, there);
  const inward = template(interfaceId, ANY, ANY);
  const handle = local.fixed || !pinsInbound ? inward : template(interfaceId, there, here);
  const peer = host(spec.peerLinkLocal);

  const policy = (
    direction: PolicyDirectionName,
    priority: number,
    rest: Pick<XfrmPolicy, "selector"> & Partial<XfrmPolicy>,
  ): XfrmPolicy => ({
    direction,
    interfaceId,
    priority,
    action: "allow",
    templates: [direction === "out" ? outward : inward],
    ...rest,
  });
  const blocked = (direction: PolicyDirectionName, source: Ipv6Prefix) =>
    policy(direction, Priority.block, {
      selector: ipv6Selector(source),
      action: "block",
      templates: [],
    });

  const reachable = hasKeys && remote !== undefined && local.address !== undefined;
  const out = sourcesOf(spec).map((source) =>
    policy("out", Priority.prefix, {
      selector: ipv6Selector(source),
      action: reachable && sending === "open" ? "allow" : "block",
    }),
  );
  if (reachable && sending === "probes-only") {
    const ours = host(spec.localAddresses[0] ?? UNSPECIFIED.address);
    const selector = ipv6Selector(ours, peer, IpProtocol.icmpv6);
    out.push(policy("out", Priority.peer, { selector }));
  }
  const impossible = impossibleSources(spec);
  return [
    ...out,
    policy("in", Priority.peer, { selector: ipv6Selector(peer), templates: [handle] }),
    ...impossible.map((source) => blocked("in", source)),
    ...spec.remotePrefixes.map((source) =>
      policy("in", Priority.prefix, { selector: ipv6Selector(source) }),
    ),
    ...impossible.map((source) => blocked("forward", source)),
    ...spec.remotePrefixes.flatMap((source) =>
      spec.localPrefixes.map((destination) =>
        policy("forward", Priority.prefix, { selector: ipv6Selector(source, destination) }),
      ),
    ),
  ];
}

/** What a server sends to groups, where it has a pair for that. */
function groupsSent(spec: TunnelSpec, attachment: Attachment): XfrmPolicy[] {
  const { interfaceId, local, remote, sending } = attachment;
  const { here, there } = endsOf(attachment);
  const isOpen = remote !== undefined && local.address !== undefined && sending === "open";
  return sourcesOf(spec).map((source) => ({
    direction: "out",
    interfaceId,
    priority: Priority.prefix - BEFORE_ANYWHERE.groups,
    selector: ipv6Selector(source, GROUPS),
    action: isOpen ? "allow" : "block",
    templates: [template(multicastRequestId(interfaceId), here, there)],
  }));
}

/** What a home takes that is for groups: with the pair for that, if it has one; on the link with any. */
function groupsTaken(
  spec: TunnelSpec,
  { interfaceId }: Attachment,
  hasPair: boolean,
): XfrmPolicy[] {
  const taken = (
    direction: "in" | "forward",
    { source, priority }: { readonly source: Ipv6Prefix; readonly priority: number },
  ): XfrmPolicy => ({
    direction,
    interfaceId,
    priority: priority - BEFORE_ANYWHERE.groups,
    selector: ipv6Selector(source, GROUPS),
    action: hasPair ? "allow" : "block",
    templates: hasPair ? [template(multicastRequestId(interfaceId), ANY, ANY)] : [],
  });
  const peer = { source: host(spec.peerLinkLocal), priority: Priority.peer };
  const others = spec.remotePrefixes.map((source) => ({ source, priority: Priority.prefix }));
  const onLink = [peer, ...others].map(
    ({ source, priority }): XfrmPolicy => ({
      direction: "in",
      interfaceId,
      priority: priority - BEFORE_ANYWHERE.linkGroups,
      selector: ipv6Selector(source, LINK_GROUPS),
      action: "allow",
      templates: [template(ANY_REQUEST, ANY, ANY)],
    }),
  );
  return [
    ...onLink,
    ...[peer, ...others].map((from) => taken("in", from)),
    ...others.map((from) => taken("forward", from)),
  ];
}

/** The whole Internet is behind its peer, not behind itself. */
function isHome({ localPrefixes }: TunnelSpec): boolean {
  return !localPrefixes.some(({ length }) => length === 0);
}

/** Inner sources that may be sent from: our prefixes, and our addresses outside them. */
function sourcesOf({ localPrefixes, localAddresses }: TunnelSpec): Ipv6Prefix[] {
  const outside = localAddresses.filter((address) => !isInAny(address, localPrefixes));
  return [...outside.map(host), ...localPrefixes];
}

/** What the peer's prefixes hold and the peer cannot be: our own side, and addresses that are no host's. */
function impossibleSources(spec: TunnelSpec): Ipv6Prefix[] {
  if (!isHome(spec)) return [];
  const { localPrefixes, remotePrefixes } = spec;
  return [LINK_LOCAL, UNSPECIFIED, ...localPrefixes].filter((prefix) =>
    remotePrefixes.some(
      (remote) => remote.length <= prefix.length && isInPrefix(prefix.address, remote),
    ),
  );
}

function keyed({ spi, flags, algorithms }: StateKeys, mtu: number): StateKeys {
  return { spi, flags: flags | (mtu <= MIN_MTU ? StateFlag.fragment : 0), algorithms };
}

function espInUdp(sourcePort: number, destinationPort: number): EncapsulationTemplate {
  return { type: ESP_IN_UDP, sourcePort, destinationPort };
}

function template(
  requestId: number,
  source: Ipv4Address,
  destination: Ipv4Address,
): PolicyTemplate {
  return { source, destination, protocol: ESP_PROTOCOL, requestId, mode: XfrmMode.tunnel };
}

function host(address: Ipv6Address): Ipv6Prefix {
  return { address, length: 128 };
}

function isInAny(address: Ipv6Address, prefixes: readonly Ipv6Prefix[]): boolean {
  return prefixes.some((prefix) => isInPrefix(address, prefix));
}
