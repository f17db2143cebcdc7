/** The examinations of `doctor` that send something, or ask another program. They take a few seconds together. */

import { createSocket } from "node:dgram";
import { type Finding, fail, ok, warn } from "../doctor/finding.ts";
import { SystemError } from "../errors.ts";
import type { Ipv4Address, Ipv6Address } from "../ip/address.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { encodeRouterSolicitation } from "../nd/router-solicitation.ts";
import { MIN_TUNNEL_MTU } from "../tunnel/mtu.ts";
import { UDP_ENCAPSULATION_PORT } from "../tunnel/tunnel.ts";
import { Icmpv6Socket } from "./icmpv6-socket.ts";
import { type ProgramOutcome, runProgramOnce } from "./program.ts";

/** RFC 4291 section 2.7.1. */
const ALL_ROUTERS = "ff02::2" as Ipv6Address;
/** How long another router may take to answer: RFC 4861 section 10 gives it half a second. */
const ROUTER_PATIENCE_MS = 1_000;
const REFUSAL_PATIENCE_MS = 500;
const PROGRAM_TIMEOUT_MS = 5_000;
/** RFC 3948 section 2.3: whoever gets it ignores it. */
const KEEPALIVE = Uint8Array.of(0xff);
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

/** Whether somebody refuses datagrams there; silence is what a server keeps. */
export async function probeUdp(server: Ipv4Address): Promise<Finding> {
  const subject = "UDP to the server";
  const where = `${server} port ${UDP_ENCAPSULATION_PORT}`;
  const socket = createSocket("udp4");
  try {
    const refusal = await new Promise<string | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), REFUSAL_PATIENCE_MS);
      socket.on("error", (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        resolve(error.code ?? "unknown");
      });
      socket.connect(UDP_ENCAPSULATION_PORT, server, () => socket.send(KEEPALIVE));
    });
    if (refusal === undefined) return ok(subject, `${where} does not refuse it`);
    const fix = "see that hometun-server runs there, and that no firewall rejects it";
    return fail(subject, `${where}: ${refusal}`, fix);
  } finally {
    socket.close();
  }
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
