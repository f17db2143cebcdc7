/**
 * Which data plane a daemon gets. `auto` takes the kernel's where it works, found out by making in it what a tunnel is
 * made of: nothing less tells, since a missing module, cipher or capability shows only then.
 */

import { randomBytes } from "node:crypto";
import type { DataPlaneSetting } from "../config/schema.ts";
import { SystemError } from "../errors.ts";
import { suiteFacts } from "../esp/suite.ts";
import type { Ipv4Address } from "../ip/address.ts";
import { encodeLinkIndex, encodeNewXfrmLink } from "../rtnetlink/xfrm-link-message.ts";
import type { Instant } from "../time.ts";
import type { DataPlane } from "../tunnel/data-plane.ts";
import type { SequenceStore } from "../tunnel/sequence-store.ts";
import type { Suite, TunnelName, TunnelSpec } from "../tunnel/tunnel.ts";
import { chooseInterfaceId, type XfrmOwner } from "../xfrm/interface-id.ts";
import { xfrmTunnel } from "../xfrm/tunnel-xfrm.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import { espTransforms } from "./esp-transforms.ts";
import { KernelDataPlane, type KernelDataPlaneOptions } from "./kernel-data-plane.ts";
import { LeakGuard } from "./leak-guard.ts";
import { UdpEncapsulationSocket } from "./linux/udp-encapsulation-socket.ts";
import { RequestFlag, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";
import type { TunnelLinks } from "./tunnel-link.ts";
import { UserspaceDataPlane, type UserspaceDataPlaneOptions } from "./userspace-data-plane.ts";
import { XfrmSocket, xfrmRequest } from "./xfrm-socket.ts";

/** What the kernel lacks when it refuses a state with these; its own words do not say how to mend it. */
const MISSING: Readonly<Record<string, string>> = {
  EPROTONOSUPPORT: "this kernel has no ESP, or the module esp4 is not installed",
  ENOENT: "this kernel lacks the cipher, or the modules of it are not installed",
  ENOSYS: "this kernel lacks the cipher, or the modules of it are not installed",
};

export interface DataPlaneParts {
  readonly owner: XfrmOwner;
  /** Our own IPv4 if it never changes. */
  readonly local: Ipv4Address | undefined;
  /** Suites of the tunnels' keys. */
  readonly suites: readonly Suite[];
  readonly routes: RouteSocket;
  readonly links: TunnelLinks;
  readonly sequences: SequenceStore;
  readonly descriptors: DescriptorStore;
  readonly now: () => Instant;
  readonly advertisements: { readonly rate: number; readonly burst: number };
}

/** Throws `SystemError` when the kernel's is asked for and does not work. */
export async function openDataPlane(
  setting: DataPlaneSetting,
  parts: DataPlaneParts,
): Promise<DataPlane> {
  const guard = new LeakGuard(parts.routes, parts.owner);
  if (setting === "userspace") {
    await removeKernelTunnels(parts);
    return userspace(parts, { reason: 'data-plane = "userspace"', guard });
  }
  try {
    await probeKernel(parts);
  } catch (error) {
    if (setting === "kernel" || !(error instanceof SystemError)) throw error;
    return userspace(parts, { reason: `the kernel's does not work: ${error.message}`, guard });
  }
  const reason = setting === "auto" ? "this kernel has all it needs" : 'data-plane = "kernel"';
  return kernel(parts, { reason, guard });
}

/** Makes an xfrm interface, and a tunnel's states and policies for it, and removes them. Throws `SystemError`. */
export async function probeKernel(
  parts: Pick<DataPlaneParts, "owner" | "suites" | "routes">,
): Promise<void> {
  const { owner, suites, routes } = parts;
  const name = `ht-try${process.pid}`.slice(0, 15);
  const interfaceId = chooseInterfaceId(owner, name, new Set());
  const xfrm = new XfrmSocket();
  try {
    for (const suite of new Set(suites)) tryStates(xfrm, interfaceId, suite);
    await tryLink(routes, name, interfaceId);
  } finally {
    xfrm.close();
  }
}

function tryStates(xfrm: XfrmSocket, interfaceId: number, suite: Suite): void {
  const attachment = {
    interfaceId,
    local: { address: undefined, fixed: true },
    remote: undefined,
    sending: "open",
  } as const;
  const { outbound, policies } = xfrmTunnel(trialSpec(suite), attachment);
  const [policy] = policies;
  const made = [xfrmRequest({ kind: "add-state", state: outbound })];
  const unmade = [xfrmRequest({ kind: "delete-state", state: outbound })];
  if (policy !== undefined) {
    made.push(xfrmRequest({ kind: "add-policy", policy }));
    unmade.push(xfrmRequest({ kind: "delete-policy", policy }));
  }
  const refused = xfrm.attempt(made).find((error) => error !== undefined);
  xfrm.attempt(unmade);
  if (refused === undefined) return;
  const { code, hint } = refused;
  const said = [hint, MISSING[code]].filter((text) => text !== undefined);
  const options = { cause: refused, ...(said.length === 0 ? {} : { hint: said.join("; ") }) };
  throw new SystemError(`use the kernel's IPsec with ${suite}`, code, options);
}

async function tryLink(routes: RouteSocket, name: string, interfaceId: number): Promise<void> {
  try {
    await routes.request({
      operation: "make an xfrm interface",
      type: RouteMessageType.newLink,
      flags: RequestFlag.create | RequestFlag.exclusive,
      payload: encodeNewXfrmLink({ name, interfaceId }),
    });
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== "EOPNOTSUPP") throw error;
    const hint =
      "this kernel has no xfrm interfaces, or the module xfrm_interface is not installed";
    throw new SystemError(error.operation, error.code, { cause: error, hint });
  }
  await routes.request({
    operation: "delete an xfrm interface",
    type: RouteMessageType.deleteLink,
    payload: encodeLinkIndex(0, name),
  });
}

function trialSpec(suite: Suite): TunnelSpec {
  const { encryptionKeyLength, companionLength } = suiteFacts(suite);
  const keys = {
    spi: 0x100 + randomBytes(3).readUIntBE(0, 3),
    suite,
    encryptionKey: randomBytes(encryptionKeyLength),
    companion: randomBytes(companionLength),
    extendedSequenceNumbers: true,
  };
  return {
    name: "trial" as TunnelName,
    interfaceName: "trial",
    encapsulation: "esp",
    localAddresses: [],
    peerLinkLocal: "fe80::1" as TunnelSpec["peerLinkLocal"],
    remotePrefixes: [],
    localPrefixes: [{ address: "::" as TunnelSpec["peerLinkLocal"], length: 0 }],
    routes: [],
    mtu: 1_400,
    clampMss: false,
    outbound: keys,
    inbound: keys,
  };
}

/**
 * What a kernel plane left when it died would take the packets away from under a userspace one. Only the routes that
 * guard against leaving in clear stay, for that one to take up.
 */
async function removeKernelTunnels(parts: DataPlaneParts): Promise<void> {
  try {
    await kernel(parts, { guard: undefined }).close();
  } catch (error) {
    // Where the kernel's IPsec cannot be spoken to, nothing of ours was left in it.
    if (!(error instanceof SystemError)) throw error;
  }
}

function kernel(
  parts: DataPlaneParts,
  chosen: Pick<KernelDataPlaneOptions, "reason" | "guard">,
): KernelDataPlane {
  return new KernelDataPlane({ ...parts, ...chosen, xfrm: new XfrmSocket() });
}

async function userspace(
  parts: DataPlaneParts,
  chosen: Pick<UserspaceDataPlaneOptions, "reason" | "guard">,
): Promise<UserspaceDataPlane> {
  // A kernel plane may have left it.
  await UdpEncapsulationSocket.release(parts.local, parts.descriptors);
  const transforms = espTransforms();
  return new UserspaceDataPlane({
    ...parts,
    ...chosen,
    openTransform: transforms.open,
    crypto: transforms.name,
  });
}
