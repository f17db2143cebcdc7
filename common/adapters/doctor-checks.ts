/** The examinations of `doctor`: each tries the thing itself and says what it saw. They change nothing that stays. */

import { accessSync, constants, existsSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import type { DataPlaneSetting } from "../config/schema.ts";
import { type Finding, fail, ok, warn } from "../doctor/finding.ts";
import { ConfigError, SystemError } from "../errors.ts";
import type { Ipv4Address } from "../ip/address.ts";
import { classifyIpv4 } from "../ip/ipv4.ts";
import { MIN_TUNNEL_MTU, tunnelMtu } from "../tunnel/mtu.ts";
import {
  type Encapsulation,
  IKE_PORT,
  type Suite,
  UDP_ENCAPSULATION_PORT,
} from "../tunnel/tunnel.ts";
import type { XfrmOwner } from "../xfrm/interface-id.ts";
import { probeKernel } from "./data-plane-choice.ts";
import { openIkePort } from "./ike-transport.ts";
import { libcCalls } from "./linux/libc.ts";
import { UdpEncapsulationSocket } from "./linux/udp-encapsulation-socket.ts";
import type { RouteSocket } from "./netlink-socket.ts";
import { queryRoute } from "./route-query.ts";

const TUN = "/dev/net/tun";
const STATUS = "/proc/self/status";
const CAPABILITIES: Readonly<Record<string, bigint>> = {
  CAP_NET_ADMIN: 1n << 12n,
  CAP_NET_RAW: 1n << 13n,
};
/** Clocks before this were never set. */
const EARLIEST_YEAR = 2024;
const STRICT = "1";
/** Whose settings an interface begins with. */
const NEW_INTERFACES = "default";
/** Less than this is soon full. */
const LEAST_SPACE = 1 << 20; // octets

export function examinePermissions(): Finding {
  const subject = "permissions";
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(STATUS, "utf8"))?.[1] ?? "0";
  const held = BigInt(`0x${effective}`);
  const missing = Object.entries(CAPABILITIES).flatMap(([name, bit]) =>
    (held & bit) === 0n ? [name] : [],
  );
  if (missing.length === 0) return ok(subject, Object.keys(CAPABILITIES).join(", "));
  const fix = "run as root, or give the service these capabilities";
  return fail(subject, `${missing.join(" and ")} missing`, fix);
}

/** The data planes, in the light of which one is asked for. */
export async function examineDataPlanes(parts: {
  readonly setting: DataPlaneSetting;
  readonly owner: XfrmOwner;
  readonly suites: readonly Suite[];
  readonly routes: RouteSocket;
}): Promise<Finding[]> {
  const { setting } = parts;
  const kernel = await kernelFault(parts);
  const hasTun = existsSync(TUN);
  const bad = (needed: boolean) => (needed ? fail : warn);
  return [
    kernel === undefined
      ? ok("kernel data plane", "xfrm interfaces, ESP and the ciphers work")
      : bad(setting === "kernel" || !hasTun)(
          "kernel data plane",
          kernel.message,
          kernelFix(kernel),
        ),
    hasTun
      ? ok("userspace data plane", `${TUN} is there`)
      : bad(setting === "userspace" || kernel !== undefined)(
          "userspace data plane",
          `${TUN} is missing`,
          "modprobe tun",
        ),
  ];
}

async function kernelFault(parts: Parameters<typeof probeKernel>[0]) {
  try {
    await probeKernel(parts);
    return undefined;
  } catch (error) {
    if (error instanceof SystemError) return error;
    throw error;
  }
}

function kernelFix({ code }: SystemError): string | undefined {
  switch (code) {
    case "EPERM":
      return "run as root";
    case "EOPNOTSUPP":
      return "modprobe xfrm_interface, or take a kernel with CONFIG_XFRM_INTERFACE";
    case "EPROTONOSUPPORT":
      return "modprobe xfrm_user esp4";
    case "ENOSYS":
    case "ENOENT":
      return "modprobe gcm seqiv authenc authencesn echainiv";
    default:
      return undefined;
  }
}

/** The way to the server, and what fits through. */
export async function examineUplink(
  routes: RouteSocket,
  parts: {
    readonly server: Ipv4Address;
    readonly excludeInterface: string;
    readonly encapsulation: Encapsulation;
    readonly suite: Suite;
  },
): Promise<Finding[]> {
  const { server, excludeInterface, encapsulation, suite } = parts;
  const uplink = queryRoute(routes, server, { excludeInterface });
  if (uplink === undefined) {
    const fix = "connect the uplink; see `ip route get` to the server's address";
    return [fail("uplink", `no route to the server ${server}`, fix)];
  }
  const { address, interfaceName, mtu } = uplink;
  const inner = tunnelMtu(mtu, encapsulation, suite);
  const found = [ok("uplink", `${address} on ${interfaceName} reaches ${server}`)];
  if (tunnelMtu(mtu, encapsulation, suite) > MIN_TUNNEL_MTU || mtu >= 1_400) {
    found.push(ok("MTU", `${mtu} outside, ${inner} inside the tunnel`));
  } else {
    const fix = "a larger MTU on the uplink spares the fragments";
    found.push(warn("MTU", `${mtu} outside: packets of ${inner} go in fragments`, fix));
  }
  return found;
}

/** Whether UDP port 4500 is ours to have; a daemon that runs has it. */
export function examineUdpPort(local: Ipv4Address | undefined, daemonRuns: boolean): Finding {
  return examinePort(UDP_ENCAPSULATION_PORT, daemonRuns, () => {
    new UdpEncapsulationSocket(local).close();
    return "free, and the kernel takes ESP out of it";
  });
}

/** Whether UDP port 500, where a server hears IKE, is ours to have. */
export function examineIkePort(local: Ipv4Address, daemonRuns: boolean): Finding {
  return examinePort(IKE_PORT, daemonRuns, () => {
    libcCalls.close(openIkePort(local));
    return "free";
  });
}

/** `take` takes the port for a moment, and says how it is. */
function examinePort(port: number, daemonRuns: boolean, take: () => string): Finding {
  const subject = `UDP port ${port}`;
  if (daemonRuns) return ok(subject, "the running daemon has it");
  try {
    return ok(subject, take());
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const fix = `stop the other IPsec daemon: \`ss -ulpn sport = ${port}\` names it`;
    return fail(subject, error.message, error.code === "EADDRINUSE" ? fix : undefined);
  }
}

/** Strict reverse path filtering drops ESP that comes from where no route leads back by the same interface. */
export function examineReversePathFilter(): Finding {
  const subject = "reverse path filter";
  const strict = readSysctl("net/ipv4/conf/all/rp_filter") === STRICT;
  if (!strict) return ok(subject, "not strict");
  const fix = "with several uplinks: sysctl net.ipv4.conf.all.rp_filter=2";
  return warn(subject, "strict: ESP from an unexpected uplink is dropped", fix);
}

/** Whether the tunnel's interface can have IPv6, and whether it is forwarded. */
export function examineIpv6(role: XfrmOwner, interfaceName = NEW_INTERFACES): Finding[] {
  const subject = "IPv6";
  if (readSysctl(disablesIpv6(NEW_INTERFACES)) === undefined) {
    const fix = "remove ipv6.disable=1 from the kernel's command line";
    return [fail(subject, "this host has no IPv6", fix)];
  }
  const bad = [interfaceName, NEW_INTERFACES].find(
    (name) => readSysctl(disablesIpv6(name)) === "1",
  );
  if (bad === undefined) return [ok(subject, "enabled"), examineForwarding(role)];
  const where = bad === NEW_INTERFACES ? "new interfaces, and so for the tunnel's" : bad;
  const fix = "sysctl net.ipv6.conf.all.disable_ipv6=0, and look for who sets it in /etc/sysctl.d";
  return [fail(subject, `disabled for ${where}`, fix), examineForwarding(role)];
}

function disablesIpv6(interfaceName: string): string {
  return `net/ipv6/conf/${interfaceName}/disable_ipv6`;
}

function examineForwarding(role: XfrmOwner): Finding {
  const subject = "IPv6 forwarding";
  const value = readSysctl("net/ipv6/conf/all/forwarding");
  if (value !== "0") return ok(subject, "on");
  const fix = "sysctl net.ipv6.conf.all.forwarding=1";
  return role === "server"
    ? fail(subject, "off: homes reach this machine and nothing behind it", fix)
    : warn(subject, "off: only this machine uses the tunnel, no LAN behind it", fix);
}

/** Whether somebody translates our address on the way. */
export function examineNat(address: Ipv4Address, encapsulation: Encapsulation): Finding {
  const subject = "NAT";
  const kind = classifyIpv4(address);
  if (kind === "public") return ok(subject, "our address is a public one");
  const seen = `our address ${address} is ${kind}: somebody translates it`;
  if (encapsulation === "udp") return ok(subject, `${seen}; UDP passes`);
  return fail(subject, seen, 'encapsulation = "udp" at both ends: no NAT lets ESP itself pass');
}

/** Whether what must outlive the daemon can be kept. */
export function examineStateDirectory(directory: string): Finding {
  const subject = "state directory";
  try {
    const damaged = readdirSync(directory).filter((name) => name.includes(".damaged-"));
    // What matters most comes last in the alphabet.
    const first = damaged.sort().at(-1);
    if (first !== undefined) {
      return warn(subject, `${directory}/${first} was kept aside`, keptAsideFix(first));
    }
    accessSync(directory, constants.W_OK);
    const { bavail, bsize } = statfsSync(directory);
    if (bavail * bsize >= LEAST_SPACE) return ok(subject, `${directory} can be written`);
    return warn(
      subject,
      `${directory}: ${bavail * bsize} octets are left`,
      "make room on the disk",
    );
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return ok(subject, `${directory} will be made`);
    if (code === "EACCES") return warn(subject, `${directory} is not ours to see`, "run as root");
    return fail(subject, `${directory}: ${code}`, "mount its file system for writing");
  }
}

/** Only numbers that were lost keep keys from being used. */
function keptAsideFix(name: string): string {
  return name.startsWith("sequence-numbers")
    ? "manual keys of that time are refused: make new ones, then remove the file"
    : "nothing waits for it: look what happened to the disk, then remove the file";
}

/** Whether a key's file can be read by the daemon and by nobody else; `read` throws `ConfigError`. */
export function examineKeyFile(read: () => unknown, what: string): Finding {
  const subject = "key";
  try {
    read();
    return ok(subject, `${what} is good, and for nobody else to read`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return fail(subject, error.message);
  }
}

/** Certificates and logs want the time; nothing else here does. */
export function examineClock(now: number): Finding {
  const subject = "clock";
  const text = new Date(now).toISOString();
  return new Date(now).getUTCFullYear() >= EARLIEST_YEAR
    ? ok(subject, text)
    : warn(subject, `${text} cannot be`, "start a time service, such as systemd-timesyncd");
}

export function networkInterfaceExists(name: string): boolean {
  const lines = readFileSync("/proc/self/net/dev", "utf8").split("\n");
  return lines.some((line) => line.trimStart().startsWith(`${name}:`));
}

function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, "utf8").trim();
  } catch {
    return undefined;
  }
}
