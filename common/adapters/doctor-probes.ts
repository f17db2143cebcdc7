/** The examinations of `doctor` that send something, or ask another program. They take a few seconds together. */

import { randomBytes, randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { type Finding, fail, ok, warn } from "../doctor/finding.ts";
import { MalformedError, SystemError } from "../errors.ts";
import type { IkeSuite } from "../ikev2/algorithms.ts";
import { buildIkeSaInitRequest } from "../ikev2/exchanges/ike-sa-init.ts";
import { beginKeyAgreement } from "../ikev2/key-agreement.ts";
import { decodeIkeHeader, formatIkeSpi, IKE_SPI_LENGTH } from "../ikev2/wire/header.ts";
import type { Ipv4Address, Ipv6Address } from "../ip/address.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { IpProtocol } from "../ip/ipv6.ts";
import { encodeRouterSolicitation } from "../nd/router-solicitation.ts";
import { MIN_TUNNEL_MTU } from "../tunnel/mtu.ts";
import { UDP_ENCAPSULATION_PORT } from "../tunnel/tunnel.ts";
import { Icmpv6Socket } from "./icmpv6-socket.ts";
import { refusalOf } from "./linux/protocol-probe.ts";
import { type ProgramOutcome, runProgramOnce } from "./program.ts";

/** RFC 4291 section 2.7.1. */
const ALL_ROUTERS = "ff02::2" as Ipv6Address;
/** How long another router may take to answer: RFC 4861 section 10 gives it half a second. */
const ROUTER_PATIENCE_MS = 1_000;
/** How long an answer or a refusal may take. */
const PATIENCE_MS = 700;
const PROGRAM_TIMEOUT_MS = 5_000;
/** RFC 3948 section 2.3: whoever gets it ignores it. */
const KEEPALIVE = Uint8Array.of(0xff);
/** RFC 3948 section 2.2. */
const NON_ESP_MARKER = new Uint8Array(4);
const ANY = "0.0.0.0" as Ipv4Address;
const NONCE_LENGTH = 32; // octets
const ESP_LENGTH = 64; // octets
/** RFC 4303 section 2.1 reserves those below. */
const SMALLEST_SPI = 256;
const SPI_END = 2 ** 32;
const IPV6_AND_ICMPV6 = 48; // octets of headers around what ping sends

/** Whether packets of the interface's full MTU get through the tunnel and back. */
export async function probeMtu(parts: {
  readonly interfaceName: string;
  readonly peer: Ipv6Address;
  /** Octets. */
  readonly mtu: number;
}): Promise<Finding> {
  const { interfaceName, peer, mtu } = parts;
  const subject = "MTU in the tunnel";
  const passes = async (octets: number) => {
    const size = String(octets - IPV6_AND_ICMPV6);
    const to = `${peer}%${interfaceName}`;
    const flags = ["-6", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", size];
    const { stdout } = await runProgramOnce({
      command: ["ping", ...flags, to],
      timeoutMs: PROGRAM_TIMEOUT_MS,
    });
    return /[12] (packets )?received/.test(stdout);
  };
  try {
    if (await passes(mtu)) return ok(subject, `packets of ${mtu} octets pass`);
    if (await passes(MIN_TUNNEL_MTU)) {
      const fix = `set mtu = ${MIN_TUNNEL_MTU} in [tunnel], and look for who drops "fragmentation needed"`;
      return fail(subject, `${mtu} octets do not pass, ${MIN_TUNNEL_MTU} do`, fix);
    }
    return warn(subject, "no echo comes back", "let ICMPv6 echo through at the server");
  } catch (error) {
    return noProgram(subject, error, "apt install iputils-ping");
  }
}

/** How the server is asked whether it can be reached, and how much depends on the answer. */
export interface WayProbe {
  readonly server: Ipv4Address;
  /** Whether the tunnel goes this way: if not, it is no failure. */
  readonly isChosen: boolean;
}

/** Whether UDP gets to the server and back, by a greeting that IKE answers. */
export async function probeIke(probe: WayProbe, suites: readonly IkeSuite[]): Promise<Finding> {
  const greeting = new IkeGreeting(probe.server, suites);
  const outcome = await exchangeUdp(probe.server, greeting.datagram, (datagram) =>
    greeting.isAnsweredBy(datagram),
  );
  if (outcome.kind === "answered") {
    return ok(UDP_SUBJECT, `IKE answers at ${placeOf(probe)} in ${outcome.afterMs.toFixed(1)} ms`);
  }
  const detail = outcome.kind === "refused" ? describeRefusal(outcome.code) : "IKE does not answer";
  return badWay(probe, UDP_SUBJECT, `${placeOf(probe)}: ${detail}`);
}

/** Whether somebody refuses datagrams there; silence is what a server keeps that has manual keys. */
export async function probeUdp(probe: WayProbe): Promise<Finding> {
  const outcome = await exchangeUdp(probe.server, KEEPALIVE, () => false);
  return outcome.kind === "refused"
    ? badWay(probe, UDP_SUBJECT, `${placeOf(probe)}: ${describeRefusal(outcome.code)}`)
    : ok(UDP_SUBJECT, `${placeOf(probe)} does not refuse it`);
}

/** Whether somebody refuses ESP itself; silence is what a server keeps to a stranger's. */
export async function probeProtocol50(probe: WayProbe): Promise<Finding> {
  const subject = "protocol 50 to the server";
  try {
    const refusal = await refusalOf(IpProtocol.esp, probe.server, strangersEsp(), PATIENCE_MS);
    return refusal === undefined
      ? ok(subject, `${probe.server} does not refuse it`)
      : badWay(probe, subject, `${probe.server}: ${describeRefusal(refusal)}`);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return warn(subject, error.message, error.hint);
  }
}

const UDP_SUBJECT = "UDP to the server";
const placeOf = ({ server }: WayProbe) => `${server} port ${UDP_ENCAPSULATION_PORT}`;

/** Where the other encapsulation is used, it is no fault. */
export function badWay({ isChosen }: WayProbe, subject: string, detail: string): Finding {
  return isChosen
    ? fail(subject, detail, "see that hometun-server runs there, and that no firewall stops it")
    : ok(subject, `${detail}; not needed as it is configured`);
}

/** What an error number means that an ICMP message brought, or the lack of a route. */
export function describeRefusal(code: string): string {
  switch (code) {
    case "ECONNREFUSED":
      return "nothing listens there";
    case "ENOPROTOOPT":
      return "that machine does not take protocol 50";
    case "EHOSTUNREACH":
      return "that machine cannot be reached";
    case "ENETUNREACH":
      return "no route leads there";
    case "EACCES":
    case "EPERM":
      return "a firewall forbids it";
    default:
      return code;
  }
}

type UdpOutcome =
  | { readonly kind: "answered"; readonly afterMs: number }
  | { readonly kind: "refused"; readonly code: string }
  | { readonly kind: "silent" };

/** Sends a datagram, once more when nothing comes, and waits for what `isAnswer`. */
async function exchangeUdp(
  server: Ipv4Address,
  datagram: Uint8Array,
  isAnswer: (datagram: Uint8Array) => boolean,
): Promise<UdpOutcome> {
  const socket = createSocket("udp4");
  const timers: NodeJS.Timeout[] = [];
  try {
    return await new Promise<UdpOutcome>((resolve) => {
      const since = performance.now();
      const refuse = ({ code = "unknown" }: NodeJS.ErrnoException) =>
        resolve({ kind: "refused", code });
      socket.on("error", refuse);
      socket.on("message", (octets) => {
        if (isAnswer(octets)) resolve({ kind: "answered", afterMs: performance.now() - since });
      });
      // Without a route there is no `error`, but an argument that Node's types do not have.
      socket.connect(UDP_ENCAPSULATION_PORT, server, (error?: Error) => {
        if (error !== undefined) return refuse(error);
        socket.send(datagram);
        timers.push(setTimeout(() => socket.send(datagram), PATIENCE_MS));
        timers.push(setTimeout(() => resolve({ kind: "silent" }), 2 * PATIENCE_MS));
      });
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    socket.close();
  }
}

/** An IKE_SA_INIT that nothing follows; whatever answers it, be it a cookie, has been reached. */
class IkeGreeting {
  /** Behind a non-ESP marker, RFC 3948 section 2.2. */
  readonly datagram: Uint8Array;
  readonly #spi = formatIkeSpi(randomBytes(IKE_SPI_LENGTH));

  constructor(server: Ipv4Address, suites: readonly IkeSuite[]) {
    const random = (count: number) => new Uint8Array(randomBytes(count));
    const remote = { address: server, port: UDP_ENCAPSULATION_PORT };
    const request = buildIkeSaInitRequest({
      spi: this.#spi,
      suites,
      agreement: beginKeyAgreement(suites[0]?.group ?? "x25519", random),
      nonce: random(NONCE_LENGTH),
      path: { local: { address: ANY, port: UDP_ENCAPSULATION_PORT }, remote },
    });
    this.datagram = Uint8Array.of(...NON_ESP_MARKER, ...request);
  }

  isAnsweredBy(datagram: Uint8Array): boolean {
    try {
      const { initiatorSpi, response } = decodeIkeHeader(datagram.subarray(NON_ESP_MARKER.length));
      return response && initiatorSpi === this.#spi;
    } catch (error) {
      if (error instanceof MalformedError) return false;
      throw error;
    }
  }
}

/** An ESP packet of a security association that nobody has. */
function strangersEsp(): Uint8Array {
  const packet = new Uint8Array(randomBytes(ESP_LENGTH));
  new DataView(packet.buffer).setUint32(0, randomInt(SMALLEST_SPI, SPI_END));
  return packet;
}

/** Whether somebody else on the LAN says that it is a router. Our own advertisements are not heard here. */
export async function examineOtherRouters(interfaceName: string): Promise<Finding> {
  const subject = `routers on ${interfaceName}`;
  const others = new Set<string>();
  try {
    const socket = new Icmpv6Socket({
      interfaceName,
      type: Icmpv6Type.routerAdvertisement,
      onMessage: (_icmp, source) => others.add(source),
      onError: () => undefined,
    });
    socket.send(ALL_ROUTERS, encodeRouterSolicitation({ options: [] }));
    await new Promise((resolve) => setTimeout(resolve, ROUTER_PATIENCE_MS));
    socket.close();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return warn(subject, error.message, error.hint);
  }
  if (others.size === 0) return ok(subject, "no other advertises itself");
  const fix = "hosts take the better of both: switch its advertisements off, or mean it so";
  return warn(subject, `${[...others].join(", ")} advertises too`, fix);
}

/** Whether the firewall's table stands. */
export async function examineFirewall(table: string): Promise<Finding> {
  const subject = "firewall";
  try {
    const { status, stderr } = await nft(["list", "table", "inet", table]);
    if (status === 0) return ok(subject, `table inet ${table} stands`);
    if (stderr.includes("No such file")) {
      return fail(subject, `table inet ${table} is missing`, "restart the daemon, which loads it");
    }
    return warn(subject, stderr.trim().split("\n")[0] ?? "nft failed", "run as root");
  } catch (error) {
    return noProgram(subject, error, "apt install nftables, or set firewall = false");
  }
}

function nft(args: readonly string[]): Promise<ProgramOutcome> {
  return runProgramOnce({ command: ["nft", ...args], timeoutMs: PROGRAM_TIMEOUT_MS });
}

function noProgram(subject: string, error: unknown, fix: string): Finding {
  if (!(error instanceof SystemError)) throw error;
  return warn(subject, error.message, fix);
}
