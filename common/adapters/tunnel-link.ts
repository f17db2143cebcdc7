/**
 * Addresses, MTU and routes of the tunnels' interfaces. What should stand is declared; `rtnetlink/link-plan.ts`
 * says what is to be done about it.
 */

import { randomInt } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { SystemError } from "../errors.ts";
import { type Ipv6Address, type Ipv6Prefix, isLinkLocal } from "../ip/address.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import {
  AddressFlag,
  decodeAddressMessage,
  encodeAddressMessage,
  encodeAddressQuery,
} from "../rtnetlink/address-message.ts";
import {
  AddressGenerationMode,
  decodeLinkMessage,
  encodeLinkMessage,
  encodeLinkQuery,
  encodeLinksQuery,
  LinkFlag,
  type LinkMessage,
} from "../rtnetlink/link-message.ts";
import {
  type InterfaceAddress,
  type LinkOperation,
  type PresentLink,
  planLink,
} from "../rtnetlink/link-plan.ts";
import { LinkWatch } from "../rtnetlink/link-watch.ts";
import {
  decodeRouteMessage,
  encodeRouteMessage,
  encodeRoutesQuery,
  type RouteMessage,
  RouteTable,
  RouteType,
} from "../rtnetlink/route-message.ts";
import { formatRoute, type TunnelRoute, type TunnelSpec } from "../tunnel/tunnel.ts";
import type { NetlinkRequest } from "./netlink-requests.ts";
import {
  RequestFlag,
  RouteGroup,
  RouteMessageType,
  type RouteReply,
  type RouteSocket,
} from "./netlink-socket.ts";

/** Marks the routes that hometun made, and only those are ever removed: `ip -6 route show proto 104`. */
export const ROUTE_PROTOCOL = 104;
/**
 * Of the tunnels' routes. Just below 1,024, which the kernel gives to a default route learned from a router: who
 * asks for ::/0 through the tunnel means it, and two equal routes would share the traffic.
 */
export const ROUTE_METRIC = 1_000;

/** For thousands of interfaces, in milliseconds. */
const REMOVAL_TIMEOUT = 60_000;

/** So long after something happened to interfaces they are looked at, milliseconds. */
const SETTLE_MS = 100;
/** More interfaces than these are read by listing all that the machine has. */
const FEW = 8;

/** Drivers whose interfaces may be a tunnel's. */
const TUNNEL_KINDS = new Set(["tun", "xfrm"]);

export type LinkSpec = Pick<
  TunnelSpec,
  "interfaceName" | "localAddresses" | "peerLinkLocal" | "routes" | "mtu"
>;

export type LinkOutcome =
  | { readonly kind: "ready"; readonly interfaceIndex: number }
  | { readonly kind: "failed"; readonly error: SystemError };

/** What happened to an interface that was configured. */
export type LinkChange = {
  readonly interfaceName: string;
} /** Somebody set it down. It is left so until somebody sets it up. */ & (
  | { readonly kind: "down" }
  /** It had been down, or had lost addresses, and is as it was configured again. */
  | { readonly kind: "restored" }
  | { readonly kind: "trouble"; readonly error: SystemError }
);

export interface TunnelLinks {
  /**
   * Makes the interface, which must exist, have these addresses, this MTU and these routes, and removes others of
   * its addresses and of hometun's routes through it. Done twice it changes nothing. Other interfaces and routes
   * are left alone. Rejects with `SystemError`.
   *
   * From then on the interface is kept so: Linux takes the addresses and routes of an interface that is set down,
   * and they are given back when it is set up again.
   */
  configure(spec: LinkSpec): Promise<{ interfaceIndex: number }>;
  /** The same for many at once, which takes much less time; an outcome for each. Rejects with `SystemError`. */
  configureAll(specs: readonly LinkSpec[]): Promise<LinkOutcome[]>;
  /** Rejects with `SystemError`. */
  setMtu(interfaceName: string, mtu: number): Promise<void>;
  /**
   * Removes interfaces with their addresses and routes, thousands in the time of one: the kernel waits some 20 ms
   * for each that goes alone. Those that are gone already are passed over. Rejects with `SystemError`.
   */
  remove(interfaceNames: readonly string[]): Promise<void>;
  onChange(listener: (change: LinkChange) => void): void;
}

export function openTunnelLinks(socket: RouteSocket): TunnelLinks {
  return new NetlinkTunnelLinks(socket);
}

/** What stands of an interface. */
interface StandingLink extends PresentLink {
  readonly index: number;
}

/** One interface on its way to what it should be. */
interface Task {
  readonly spec: LinkSpec;
  readonly operation: string;
  readonly index: number;
  readonly steps: readonly LinkOperation[];
  error: SystemError | undefined;
}

class NetlinkTunnelLinks implements TunnelLinks {
  readonly #socket: RouteSocket;
  /**
   * Routes of hometun that stood at the start, by interface. To list one interface's routes the kernel walks all
   * of them, which for thousands of new interfaces would take thousands of times as long: so they are listed
   * once, and again only for an interface that is configured for a second time.
   */
  #atStart: ReadonlyMap<number, readonly TunnelRoute[]> | undefined;
  /** What was configured, by interface index. */
  readonly #kept = new Map<number, LinkSpec>();
  readonly #watch = new LinkWatch();
  readonly #listeners: ((change: LinkChange) => void)[] = [];
  #subscription: { close(): void } | undefined;
  #settling: NodeJS.Timeout | undefined;
  /** The last piece of work: one after the other, or an older one might undo a newer. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(socket: RouteSocket) {
    this.#socket = socket;
  }

  async configure(spec: LinkSpec): Promise<{ interfaceIndex: number }> {
    const [outcome] = await this.configureAll([spec]);
    if (outcome?.kind === "ready") return { interfaceIndex: outcome.interfaceIndex };
    throw outcome?.error ?? new SystemError(operationOn(spec), "ENODEV");
  }

  configureAll(specs: readonly LinkSpec[]): Promise<LinkOutcome[]> {
    return this.#inTurn(async () => {
      const { link, ipv6Address } = RouteGroup;
      this.#subscription ??= this.#socket.subscribe([link, ipv6Address], this.#hear);
      const standing = this.#read(specs);
      const tasks = specs.map((spec) => taskFor(spec, standing.get(spec.interfaceName)));
      await this.#carryOut(tasks.flatMap((task) => (task instanceof SystemError ? [] : [task])));
      return tasks.map((task) => this.#settle(task));
    });
  }

  async setMtu(interfaceName: string, mtu: number): Promise<void> {
    const operation = `set the MTU of ${interfaceName} to ${mtu}`;
    await this.#inTurn(async () => {
      const { index } = this.#link(interfaceName, operation);
      const [refused] = await this.#socket.attempt([
        changeLink({ index, flags: 0, change: 0, mtu }, operation),
      ]);
      if (refused !== undefined) throw refused;
      const spec = this.#kept.get(index);
      if (spec !== undefined) this.#kept.set(index, { ...spec, mtu });
    });
  }

  async remove(interfaceNames: readonly string[]): Promise<void> {
    await this.#inTurn(() => this.#remove(interfaceNames));
  }

  onChange(listener: (change: LinkChange) => void): void {
    this.#listeners.push(listener);
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  async #remove(interfaceNames: readonly string[]): Promise<void> {
    const operation = "remove the tunnel interfaces";
    // A number that nobody else has: whatever is in the group goes.
    const group = randomInt(2 ** 30, 2 ** 31);
    const indexes: number[] = [];
    const links = this.#links(interfaceNames, operation);
    for (const name of interfaceNames) {
      const link = links.get(name);
      if (link instanceof SystemError && link.code !== "ENODEV") throw link;
      if (link !== undefined && !(link instanceof SystemError)) indexes.push(link.index);
    }
    for (const index of indexes) this.#forget(index);
    const grouped = await this.#socket.attempt(
      indexes.map((index) => changeLink({ index, flags: 0, change: 0, group }, operation)),
    );
    for (const error of grouped) if (error !== undefined && error.code !== "ENODEV") throw error;
    if (!grouped.includes(undefined)) return;
    const payload = encodeLinkMessage({ index: 0, flags: 0, change: 0, group });
    const type = RouteMessageType.deleteLink;
    await this.#socket.request({ operation, type, payload, timeoutMs: REMOVAL_TIMEOUT });
  }

  /** Remembers what was done, to keep it so. */
  #settle(task: Task | SystemError): LinkOutcome {
    if (task instanceof SystemError) return { kind: "failed", error: task };
    const { spec, index, steps, error } = task;
    if (error !== undefined) return { kind: "failed", error };
    const wasDown = this.#watch.stateOf(index) === "down";
    const wasRaised = steps.some(({ kind }) => kind === "set-up");
    this.#kept.set(index, spec);
    this.#watch.keep(index, wasRaised ? "rising" : "up", spec.localAddresses);
    if (wasDown) this.#tell({ kind: "restored", interfaceName: spec.interfaceName });
    return { kind: "ready", interfaceIndex: index };
  }

  #forget(index: number): void {
    this.#kept.delete(index);
    this.#watch.forget(index);
  }

  #tell(change: LinkChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  readonly #hear = (messages?: readonly RouteReply[]): void => {
    if (messages === undefined) this.#watch.overrun();
    for (const { type, payload } of messages ?? []) {
      if (type === RouteMessageType.newLink) this.#watch.linkChanged(payload);
      else if (type === RouteMessageType.deleteAddress) this.#watch.addressRemoved(payload);
      else if (type === RouteMessageType.deleteLink) {
        this.#kept.delete(this.#watch.linkRemoved(payload));
      }
    }
    if (!this.#watch.hasDoubts) return;
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      void this.#inTurn(() => this.#lookAgain());
    }, SETTLE_MS).unref();
  };

  /** Something happened to some interfaces: those that are up get back what they lost. */
  async #lookAgain(): Promise<void> {
    const indexes = this.#watch.takeDoubtful();
    const specs = indexes.flatMap((index) => this.#kept.get(index) ?? []);
    try {
      const standing = this.#read(specs);
      const tasks: Task[] = [];
      for (const spec of specs) {
        const task = taskFor(spec, standing.get(spec.interfaceName));
        // One that is gone is its owner's, who makes it again and configures it.
        if (task instanceof SystemError) continue;
        if (task.steps.some(({ kind }) => kind === "set-up")) this.#findDown(task);
        else if (task.steps.length > 0 || this.#watch.stateOf(task.index) === "down")
          tasks.push(task);
      }
      await this.#carryOut(tasks);
      for (const task of tasks) this.#findRestored(task);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.code === "ECANCELED") return; // the socket is closed, we are at the end
      for (const { interfaceName } of specs) this.#tell({ kind: "trouble", interfaceName, error });
    }
  }

  #findDown({ spec, index }: Task): void {
    if (this.#watch.stateOf(index) === "down") return;
    this.#watch.keep(index, "down", spec.localAddresses);
    this.#tell({ kind: "down", interfaceName: spec.interfaceName });
  }

  #findRestored({ spec, index, error }: Task): void {
    const { interfaceName, localAddresses } = spec;
    if (error?.code === "ENODEV") return;
    this.#watch.keep(index, "up", localAddresses);
    if (error === undefined) this.#tell({ kind: "restored", interfaceName });
    else this.#tell({ kind: "trouble", interfaceName, error });
  }

  /** What stands of these interfaces; an error for one that is not there, or that no tunnel may have. */
  #read(specs: readonly LinkSpec[]): Map<string, StandingLink | SystemError> {
    const operation = specs.length === 1 ? operationOn(specs[0]) : "look at the tunnel interfaces";
    const links = this.#links(
      specs.map(({ interfaceName }) => interfaceName),
      operation,
    );
    const indexes = [...links.values()].flatMap((link) =>
      link instanceof SystemError ? [] : [link.index],
    );
    const addresses = this.#addresses(indexes, operation);
    const routes = this.#routes(indexes, operation);
    const standing = new Map<string, StandingLink | SystemError>();
    for (const [name, link] of links) {
      if (link instanceof SystemError) {
        standing.set(name, link);
        continue;
      }
      const { index, flags, mtu, addressGenerationMode } = link;
      standing.set(name, {
        ...{ index, mtu, addressGenerationMode },
        up: (flags & LinkFlag.up) !== 0,
        addresses: addresses.get(index) ?? [],
        routes: routes.get(index) ?? [],
      });
    }
    return standing;
  }

  #links(names: readonly string[], operation: string): Map<string, LinkMessage | SystemError> {
    const found = new Map<string, LinkMessage | SystemError>();
    if (names.length <= FEW) {
      for (const name of names)
        found.set(
          name,
          valueOrError(() => this.#link(name, operation)),
        );
      return found;
    }
    const type = RouteMessageType.getLink;
    const wanted = new Set(names);
    for (const payload of this.#socket.list({ operation, type, payload: encodeLinksQuery() })) {
      const link = decodeLinkMessage(payload);
      if (link.name === undefined || !wanted.has(link.name)) continue;
      const { name } = link;
      found.set(
        name,
        valueOrError(() => requireTunnel(link, name, operation)),
      );
    }
    return found;
  }

  /** The interface, if it is one a tunnel may have. Throws `SystemError`. */
  #link(name: string, operation: string): LinkMessage {
    const type = RouteMessageType.getLink;
    const payload = this.#socket.ask({ operation, type, payload: encodeLinkQuery({ name }) });
    return requireTunnel(decodeLinkMessage(payload), name, operation);
  }

  #addresses(indexes: readonly number[], operation: string): Map<number, InterfaceAddress[]> {
    const type = RouteMessageType.getAddress;
    // 0 asks for all interfaces.
    const asked = indexes.length <= FEW ? indexes : [0];
    const payloads = asked.flatMap((index) =>
      this.#socket.list({
        operation,
        type,
        payload: encodeAddressQuery(AddressFamily.ipv6, index),
      }),
    );
    // Old kernels tell all interfaces' for each.
    const messages = new Map(
      payloads.map((payload) => {
        const message = decodeAddressMessage(payload);
        return [`${message.interfaceIndex} ${message.address}`, message];
      }),
    );
    return groupBy([...messages.values()], ({ interfaceIndex, address, prefixLength }) => [
      interfaceIndex,
      { address: address as Ipv6Address, prefixLength },
    ]);
  }

  #routes(
    indexes: readonly number[],
    operation: string,
  ): ReadonlyMap<number, readonly TunnelRoute[]> {
    if (indexes.length > FEW) return byInterface(this.#ourRoutes(operation));
    const routes = new Map<number, readonly TunnelRoute[]>();
    for (const index of indexes) {
      if (this.#kept.has(index)) {
        routes.set(index, this.#ourRoutes(operation, index).map(routeOf));
      } else {
        this.#atStart ??= byInterface(this.#ourRoutes(operation));
        routes.set(index, this.#atStart.get(index) ?? []);
      }
    }
    return routes;
  }

  /** The routes that hometun made, through one interface or through any. Throws `SystemError`. */
  #ourRoutes(operation: string, interfaceIndex?: number): RouteMessage[] {
    const type = RouteMessageType.getRoute;
    const query = { protocol: ROUTE_PROTOCOL, interfaceIndex };
    // Kernels before 4.20 do not filter.
    return this.#socket
      .list({ operation, type, payload: encodeRoutesQuery(AddressFamily.ipv6, query) })
      .map(decodeRouteMessage)
      .filter(isOurs)
      .filter((route) => interfaceIndex === undefined || route.interfaceIndex === interfaceIndex);
  }

  /** What goes from any of them goes first: it may be on its way from one to another. */
  async #carryOut(tasks: readonly Task[]): Promise<void> {
    for (const { spec, operation } of tasks) {
      refuseRouterAdvertisements(spec.interfaceName, operation);
    }
    await this.#attempt(tasks, isRemoval);
    const occupied = await this.#attempt(tasks, (step) => !isRemoval(step));
    for (const { task, route } of occupied) {
      try {
        await this.#takeRoute(route, task);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        task.error ??= error;
      }
    }
  }

  /** Carries out those steps; returns the routes that could not be made because another stands. */
  async #attempt(tasks: readonly Task[], chosen: (step: LinkOperation) => boolean) {
    const steps = tasks.flatMap((task) =>
      task.steps.filter(chosen).map((step) => ({ task, step })),
    );
    const results = await this.#socket.attempt(
      steps.map(({ task, step }) => requestFor(step, task.index, task.operation)),
    );
    const occupied: { task: Task; route: TunnelRoute }[] = [];
    for (const [at, { task, step }] of steps.entries()) {
      const error = results[at];
      if (error === undefined || error.code === HARMLESS[step.kind]) continue;
      if (step.kind === "add-route" && error.code === "EEXIST") {
        // Each link has its own fe80::2, and beside the others' a route to it may stand twice.
        if (!isLinkLocal(step.route.address)) occupied.push({ task, route: step.route });
        continue;
      }
      if (step.kind === "add-route" && lacksSourceRoutes(error, step.route)) continue;
      task.error ??= explained(error, task.spec.interfaceName, task.operation) as SystemError;
    }
    return occupied;
  }

  /** A route to the same prefix stands: if another tunnel of ours had it, it moves; someone else's stays. */
  async #takeRoute(route: TunnelRoute, { index, operation }: Task): Promise<void> {
    const same = this.#ourRoutes(operation).filter(
      (other) => formatRoute(routeOf(other)) === formatRoute(route),
    );
    if (same.some(({ interfaceIndex }) => interfaceIndex === index)) return;
    const removals = same.flatMap(({ interfaceIndex }) =>
      interfaceIndex === undefined ? [] : [routeRemoval(route, interfaceIndex, operation)],
    );
    const results = await this.#socket.attempt([
      ...removals,
      requestFor({ kind: "add-route", route }, index, operation),
    ]);
    const error = results.at(-1);
    if (error?.code !== "EEXIST") {
      if (error !== undefined) throw error;
      return;
    }
    const hint = `another program's route to ${formatRoute(route)} with metric ${ROUTE_METRIC} stands`;
    throw new SystemError(operation, "EEXIST", { hint });
  }
}

function operationOn(spec: LinkSpec | undefined): string {
  return `configure the tunnel interface ${spec?.interfaceName ?? ""}`;
}

function taskFor(
  spec: LinkSpec,
  standing: StandingLink | SystemError | undefined,
): Task | SystemError {
  const operation = operationOn(spec);
  if (standing === undefined) return new SystemError(operation, "ENODEV");
  if (standing instanceof SystemError) return standing;
  const { index } = standing;
  return { spec, operation, index, steps: planLink(standing, spec), error: undefined };
}

function requireTunnel(link: LinkMessage, name: string, operation: string): LinkMessage {
  if (link.kind !== undefined && TUNNEL_KINDS.has(link.kind)) return link;
  const hint = `${name} is no tunnel interface; choose another name`;
  throw new SystemError(operation, "EBUSY", { hint });
}

function valueOrError<T>(work: () => T): T | SystemError {
  try {
    return work();
  } catch (error) {
    if (error instanceof SystemError) return error;
    throw error;
  }
}

function byInterface(routes: readonly RouteMessage[]): Map<number, TunnelRoute[]> {
  return groupBy(routes, (route) => [route.interfaceIndex ?? 0, routeOf(route)]);
}

function groupBy<Item, Value>(
  items: readonly Item[],
  split: (item: Item) => [key: number, value: Value],
): Map<number, Value[]> {
  const groups = new Map<number, Value[]>();
  for (const item of items) {
    const [key, value] = split(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}

function isRemoval({ kind }: LinkOperation): boolean {
  return kind === "remove-route" || kind === "remove-address";
}

/** What may be so already: it vanished, or was made, while we looked elsewhere. */
const HARMLESS: Readonly<Partial<Record<LinkOperation["kind"], string>>> = {
  "remove-route": "ESRCH",
  "remove-address": "EADDRNOTAVAIL",
  "add-address": "EEXIST",
};

function requestFor(step: LinkOperation, index: number, operation: string): NetlinkRequest {
  switch (step.kind) {
    case "remove-route":
      return routeRemoval(step.route, index, operation);
    case "remove-address":
      return changeAddress(RouteMessageType.deleteAddress, step.address, index, operation);
    case "set-link": {
      const { mtu } = step;
      const addressGenerationMode = AddressGenerationMode.none;
      return changeLink({ index, flags: 0, change: 0, mtu, addressGenerationMode }, operation);
    }
    case "set-up":
      return changeLink({ index, flags: LinkFlag.up, change: LinkFlag.up }, operation);
    case "add-address":
      return changeAddress(RouteMessageType.newAddress, step.address, index, operation);
    case "add-route":
      return {
        operation,
        type: RouteMessageType.newRoute,
        // Each link has its own fe80::2: the other tunnels' routes to theirs stay beside it. But for those,
        // replacing would take over whoever's route it is.
        flags: isLinkLocal(step.route.address)
          ? RequestFlag.create | RequestFlag.append
          : CREATE_ONLY,
        payload: routePayload(step.route, index, RouteType.unicast),
      };
  }
}

function routeRemoval(route: TunnelRoute, index: number, operation: string): NetlinkRequest {
  const payload = routePayload(route, index, RouteType.unspecified);
  return { operation, type: RouteMessageType.deleteRoute, payload };
}

function changeLink(change: LinkMessage, operation: string): NetlinkRequest {
  return { operation, type: RouteMessageType.newLink, payload: encodeLinkMessage(change) };
}

function changeAddress(
  type: number,
  item: InterfaceAddress,
  index: number,
  operation: string,
): NetlinkRequest {
  return {
    operation,
    type,
    flags: type === RouteMessageType.newAddress ? CREATE_ONLY : 0,
    payload: encodeAddressMessage({
      family: AddressFamily.ipv6,
      prefixLength: item.prefixLength,
      // Nobody else is on a point-to-point link, and an address on trial cannot be sent from for a second.
      flags: AddressFlag.noDad | AddressFlag.noPrefixRoute,
      scope: 0,
      interfaceIndex: index,
      address: item.address,
    }),
  };
}

const CREATE_ONLY = RequestFlag.create | RequestFlag.exclusive;

function routePayload(route: TunnelRoute, interfaceIndex: number, type: number): Uint8Array {
  return encodeRouteMessage({
    family: AddressFamily.ipv6,
    destination: route.address,
    destinationLength: route.length,
    source: route.source,
    table: RouteTable.main,
    protocol: ROUTE_PROTOCOL,
    scope: 0,
    type,
    flags: 0,
    metric: ROUTE_METRIC,
    interfaceIndex,
  });
}

function isOurs({ protocol, table, metric }: RouteMessage): boolean {
  return protocol === ROUTE_PROTOCOL && table === RouteTable.main && metric === ROUTE_METRIC;
}

/** As it was asked for. */
export function routeOf(message: RouteMessage): TunnelRoute {
  const { destination, destinationLength, source } = message;
  const route = { address: destination as Ipv6Address, length: destinationLength };
  return source === undefined ? route : { ...route, source: source as Ipv6Prefix };
}

/**
 * The peer is a router of prefixes, not of this host: its Router Advertisements must not make default routes or
 * addresses. rtnetlink has no attribute for that.
 */
function refuseRouterAdvertisements(interfaceName: string, operation: string): void {
  if (sysctl(interfaceName, "accept_ra") === "0") return;
  try {
    writeFileSync(sysctlPath(interfaceName, "accept_ra"), "0\n");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    // No IPv6 on this interface: adding an address fails next and is explained then.
    if (code === "ENOENT") return;
    // A forwarding host ignores Router Advertisements unless told otherwise.
    const ignored = sysctl(interfaceName, "accept_ra") === "1";
    if (ignored && sysctl(interfaceName, "forwarding") === "1") return;
    const hint = `let /proc/sys/net be written, or set net.ipv6.conf.default.accept_ra=0`;
    throw new SystemError(operation, code, { cause, hint });
  }
}

/** An error that says more where IPv6 is switched off. */
export function explained(error: unknown, interfaceName: string, operation: string): unknown {
  if (!(error instanceof SystemError)) return error;
  const disabled = sysctl(interfaceName, "disable_ipv6");
  if (disabled === "0") return error;
  const hint =
    disabled === undefined
      ? "this host has no IPv6: is ipv6.disable=1 on the kernel's command line?"
      : `IPv6 is disabled: set sysctl net.ipv6.conf.default.disable_ipv6=0 and net.ipv6.conf.${interfaceName}.disable_ipv6=0`;
  return new SystemError(operation, error.code, { cause: error, hint });
}

/** Undefined where the interface has no IPv6. */
function sysctl(interfaceName: string, key: string): string | undefined {
  try {
    return readFileSync(sysctlPath(interfaceName, key), "utf8").trim();
  } catch {
    return undefined;
  }
}

function sysctlPath(interfaceName: string, key: string): string {
  return `/proc/sys/net/ipv6/conf/${interfaceName}/${key}`;
}

/**
 * True where the kernel was built without IPV6_SUBTREES, which no large distribution's is: without such routes packets
 * take the plain one beside them. `LeakGuard` says so.
 */
export function lacksSourceRoutes(error: SystemError, route: TunnelRoute): boolean {
  return route.source !== undefined && error.code === "EINVAL";
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof SystemError && codes.includes(error.code);
}

/** For what may be so already: it vanished, or was made, while we looked elsewhere. */
export async function ignoring(codes: readonly string[], work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!hasCode(error, ...codes)) throw error;
  }
}
