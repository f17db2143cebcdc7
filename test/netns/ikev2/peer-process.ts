/**
 * An end of IKEv2 as a process of its own: our core over UDP sockets, and just enough of a data plane to ping and to
 * answer pings (ESP in UDP, no interface). Its configuration is its argument; commands come as JSON lines, and
 * what the core does goes out as JSON lines.
 */

import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  randomInt,
  X509Certificate,
} from "node:crypto";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { PacketMemory } from "../../../common/bytes/packet-memory.ts";
import { heapPacketMemory } from "../../../common/bytes/packet-memory.ts";
import { openNodeTransform } from "../../../common/esp/node-transform.ts";
import { ReplayWindow } from "../../../common/esp/replay-window.ts";
import { InboundSa, OutboundSa } from "../../../common/esp/security-association.ts";
import type { ChildSuite, IkeSuite } from "../../../common/ikev2/algorithms.ts";
import type { Credential, Trust } from "../../../common/ikev2/authentication.ts";
import { identificationOf, isSameIdentification } from "../../../common/ikev2/identity.ts";
import { IkeInitiator } from "../../../common/ikev2/ike-initiator.ts";
import {
  DEFAULT_LIMITS,
  IkeResponder,
  type SessionId,
} from "../../../common/ikev2/ike-responder.ts";
import { espKeyLines, ikeKeyLine } from "../../../common/ikev2/key-log.ts";
import { LinkTable } from "../../../common/ikev2/link-table.ts";
import type { Path } from "../../../common/ikev2/nat-detection.ts";
import { DEFAULT_TIMES } from "../../../common/ikev2/retransmission.ts";
import type { SessionEffect, SessionSettings } from "../../../common/ikev2/session-types.ts";
import {
  type Ipv6Address,
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
} from "../../../common/ip/address.ts";
import {
  decodeIcmpv6,
  encodeIcmpv6,
  Icmpv6Type,
  withIcmpv6Checksum,
} from "../../../common/ip/icmpv6.ts";
import { decodeIpv6, encodeIpv6, IpProtocol } from "../../../common/ip/ipv6.ts";
import type { Instant } from "../../../common/time.ts";

/** Keys and certificates are PEM. */
export type Secret =
  | { readonly psk: string }
  | { readonly key: string; readonly certificates?: readonly string[] };
export type Belief =
  | { readonly psk: string }
  | { readonly publicKeys: readonly string[] }
  | { readonly authorities: readonly string[] };

export interface PeerConfig {
  readonly role: "home" | "gateway";
  readonly local: string;
  readonly remote: string;
  readonly identity: string;
  readonly peerIdentity: string;
  readonly credential: Secret;
  readonly trust: Belief;
  readonly ikeSuites: readonly IkeSuite[];
  readonly childSuites: readonly ChildSuite[];
  readonly fragmentLimit?: number;
  readonly cookieThreshold?: number;
  readonly forceEncapsulation?: boolean;
  /** Of a gateway, for homes that do not know RFC 5739. */
  readonly fallback?: string;
  readonly prefixes?: readonly string[];
  /** Path of a file for Wireshark's tables; `.esp` is added for the second. */
  readonly keyLog?: string;
}

export type PeerCommand =
  | { readonly command: "rekey-child" | "rekey-ike" | "probe" | "close" | "reauthenticate" }
  | { readonly command: "ping"; readonly from: string; readonly to: string };

const NON_ESP_MARKER = 4; // octets, RFC 3948 section 2.2
const PING_INTERVAL_MS = 200;
const HOP_LIMIT = 64;

const config = JSON.parse(process.argv[2] ?? "{}") as PeerConfig;
const memory = heapPacketMemory(4096);
const openTransform = openNodeTransform((count) => randomBytes(count));

interface Child {
  readonly outbound: OutboundSa<PacketMemory>;
  readonly inbound: InboundSa<PacketMemory>;
}
const children = new Map<number, Child>();
let inUse: number | undefined;
let espPath: Path | undefined;
let session: SessionId | undefined;

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const now = () => performance.now() as Instant;

const settings: SessionSettings = {
  ikeSuites: config.ikeSuites,
  childSuites: config.childSuites,
  times: DEFAULT_TIMES,
  fragmentLimit: config.fragmentLimit ?? 1_200,
  probeIntervalMs: 0,
  keepaliveMs: 0,
  ikeLifetimeMs: 0,
  forceEncapsulation: config.forceEncapsulation ?? false,
  revealKeys: config.keyLog !== undefined,
};
const random = (length: number) => new Uint8Array(randomBytes(length));
const ports = { random, allocateSpi: () => randomInt(256, 2 ** 32) };

function credentialOf(secret: Secret): Credential {
  if ("psk" in secret) {
    return { kind: "shared-key", key: new TextEncoder().encode(secret.psk) };
  }
  const certificates = (secret.certificates ?? []).map(
    (pem) => new Uint8Array(new X509Certificate(pem).raw),
  );
  return { kind: "private-key", privateKey: createPrivateKey(secret.key), certificates };
}

function trustOf(belief: Belief): Trust {
  if ("psk" in belief) return { kind: "shared-key", key: new TextEncoder().encode(belief.psk) };
  if ("publicKeys" in belief) {
    return {
      kind: "public-keys",
      publicKeys: belief.publicKeys.map((pem) => createPublicKey(pem)),
    };
  }
  const authorities = belief.authorities.map((pem) => new X509Certificate(pem));
  return { kind: "authorities", authorities };
}

// ---- the core

const identity = identificationOf(config.identity);
const peerIdentity = identificationOf(config.peerIdentity);
const common = { credential: credentialOf(config.credential), trust: trustOf(config.trust) };
const interfaceId = (last: number) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, last);
const links = new LinkTable(random);

const home =
  config.role === "home"
    ? new IkeInitiator(
        {
          identity,
          peerIdentity,
          ...common,
          link: { interfaceId: interfaceId(2), fallback: true },
          initialContact: true,
        },
        settings,
        ports,
      )
    : undefined;
const gateway = new IkeResponder({
  directory: {
    authorities: common.trust.kind === "authorities" ? common.trust.authorities : [],
    findPeer: (peer) =>
      isSameIdentification(peer, peerIdentity)
        ? {
            identity,
            ...common,
            link: {
              interfaceId: interfaceId(1),
              prefixes: (config.prefixes ?? []).map(parseIpv6Prefix),
              dns: [],
              dhcp: [],
              ...(config.fallback === undefined
                ? {}
                : { fallback: { address: parseIpv6(config.fallback), length: 64 } }),
            },
            multicast: false,
          }
        : undefined,
    claimLink: (peer, requested) => links.claim(peer, requested),
  },
  settings,
  ports,
  limits: { ...DEFAULT_LIMITS, cookieThreshold: config.cookieThreshold ?? 64 },
});

function perform(effects: readonly { readonly kind: string }[]): void {
  for (const effect of effects as ReturnType<IkeResponder["handle"]>) {
    if (effect.kind === "send") send(effect);
    else if (effect.kind === "session") {
      session = effect.id;
      note(effect.effect);
    } else say(effect);
  }
  arm();
}

let timer: NodeJS.Timeout | undefined;
function arm(): void {
  clearTimeout(timer);
  const deadline = home?.deadline ?? gateway.deadline;
  if (deadline === undefined) return;
  timer = setTimeout(
    () => {
      if (home !== undefined) perform(home.handleDeadline(now()));
      perform(gateway.handleDeadline(now()));
    },
    Math.max(1, deadline - now()),
  );
}

function note(effect: SessionEffect): void {
  switch (effect.kind) {
    case "child-created": {
      const { inbound, outbound } = effect.child;
      children.set(inbound.spi, {
        outbound: new OutboundSa({
          keys: outbound,
          transform: openTransform(outbound, "outbound"),
          next: 1,
          limit: 2 ** 32,
        }),
        inbound: new InboundSa({
          keys: inbound,
          transform: openTransform(inbound, "inbound"),
          window: new ReplayWindow(),
        }),
      });
      if (effect.outbound === "now" || inUse === undefined) inUse = inbound.spi;
      if (config.keyLog !== undefined && espPath !== undefined) {
        for (const line of espKeyLines(effect.child, espPath)) {
          appendFileSync(`${config.keyLog}.esp`, `${line}\n`);
        }
      }
      say({ kind: effect.kind, suite: inbound.suite, encapsulation: effect.child.encapsulation });
      break;
    }
    case "child-outbound":
      inUse = effect.spi;
      break;
    case "child-deleted":
      children.delete(effect.spi);
      if (inUse === effect.spi) inUse = [...children.keys()].at(-1);
      say({ kind: effect.kind });
      break;
    case "established": {
      const { assignment } = effect;
      say({
        kind: effect.kind,
        assignment: assignment?.kind,
        address: assignment?.kind === "address" ? assignment.address : undefined,
        prefixes: assignment?.kind === "link" ? assignment.prefixes : undefined,
      });
      break;
    }
    case "keys":
      if (config.keyLog !== undefined) appendFileSync(config.keyLog, `${ikeKeyLine(effect)}\n`);
      break;
    case "send":
    case "keepalive":
    case "listen":
    case "unlisten":
      break;
    case "child-refused":
    case "ike-rekeyed":
    case "reauthenticate":
    case "peer-moved":
    case "hint":
    case "dropped":
    case "closed":
      say(effect);
      break;
  }
}

// ---- sockets

const sockets = new Map<number, Socket>();

function send({ path, encapsulated, message }: Extract<SessionEffect, { kind: "send" }>): void {
  espPath = path;
  const octets = encapsulated ? new Uint8Array(NON_ESP_MARKER + message.length) : message;
  if (encapsulated) octets.set(message, NON_ESP_MARKER);
  sockets.get(encapsulated ? 4500 : 500)?.send(octets, path.remote.port, path.remote.address);
}

function received(octets: Buffer, from: RemoteInfo, port: number): void {
  const datagram = new Uint8Array(octets);
  const encapsulated = port === 4500;
  const path = {
    local: { address: parseIpv4(config.local), port },
    remote: { address: parseIpv4(from.address), port: from.port },
  };
  if (encapsulated && datagram.length <= NON_ESP_MARKER) return; // a keepalive
  if (encapsulated && datagram.subarray(0, NON_ESP_MARKER).some((octet) => octet !== 0)) {
    receiveEsp(datagram);
    return;
  }
  const message = encapsulated ? datagram.subarray(NON_ESP_MARKER) : datagram;
  const input = { kind: "message", message, path, encapsulated, wallTime: Date.now() } as const;
  if (home === undefined) perform(gateway.handle(input, now()));
  else perform(home.handle(input, now()));
}

// ---- pings

function receiveEsp(datagram: Uint8Array): void {
  const spi = new DataView(datagram.buffer, datagram.byteOffset).getUint32(0);
  const child = children.get(spi);
  if (child === undefined) {
    say({ kind: "unknown-esp", spi });
    return;
  }
  memory.octets.set(datagram);
  const length = child.inbound.open(memory, 0, datagram.length);
  if (length < 0) {
    say({ kind: "bad-esp", length });
    return;
  }
  const at = child.inbound.innerOffset;
  const packet = decodeIpv6(memory.octets.slice(at, at + length));
  if (packet.nextHeader !== IpProtocol.icmpv6) return;
  const { type, body } = decodeIcmpv6(packet.payload);
  if (type === Icmpv6Type.echoReply) say({ kind: "pong", from: packet.source });
  if (type !== Icmpv6Type.echoRequest) return;
  echo(Icmpv6Type.echoReply, packet.destination, packet.source, body);
}

function echo(type: number, source: Ipv6Address, destination: Ipv6Address, body: Uint8Array): void {
  const child = inUse === undefined ? undefined : children.get(inUse);
  if (child === undefined || espPath === undefined) return;
  const icmp = withIcmpv6Checksum(source, destination, encodeIcmpv6({ type, code: 0, body }));
  const packet = encodeIpv6({
    source,
    destination,
    trafficClass: 0,
    flowLabel: 0,
    hopLimit: HOP_LIMIT,
    nextHeader: IpProtocol.icmpv6,
    payload: icmp,
  });
  memory.octets.set(packet, child.outbound.innerOffset);
  const length = child.outbound.seal(memory, 0, packet.length);
  const { address, port } = espPath.remote;
  sockets.get(4500)?.send(memory.octets.slice(0, length), port, address);
}

let pinging: NodeJS.Timeout | undefined;
function ping(from: string, to: string): void {
  clearInterval(pinging);
  const body = new Uint8Array(randomBytes(12));
  const once = () => echo(Icmpv6Type.echoRequest, parseIpv6(from), parseIpv6(to), body);
  once();
  pinging = setInterval(once, PING_INTERVAL_MS);
  setTimeout(() => clearInterval(pinging), 2_000);
}

// ---- commands

function obey(line: string): void {
  const input = JSON.parse(line) as PeerCommand;
  if (input.command === "ping") {
    ping(input.from, input.to);
    return;
  }
  const spi = inUse ?? 0;
  if (home !== undefined) {
    perform(home.handle({ kind: input.command, spi }, now()));
    return;
  }
  if (session === undefined || input.command === "reauthenticate") return;
  const command = { kind: input.command, spi };
  perform(gateway.handle({ kind: "session", id: session, input: command }, now()));
}

for (const port of [500, 4500]) {
  const socket = createSocket("udp4");
  socket.on("message", (octets, from) => received(octets, from, port));
  await new Promise<void>((resolve) => socket.bind(port, config.local, resolve));
  sockets.set(port, socket);
}
createInterface({ input: process.stdin }).on("line", obey);
say({ kind: "ready" });
if (home !== undefined) {
  const path = {
    local: { address: parseIpv4(config.local), port: 500 },
    remote: { address: parseIpv4(config.remote), port: 500 },
  };
  perform(home.handle({ kind: "start", path }, now()));
}
