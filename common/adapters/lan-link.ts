/**
 * The home's LAN interfaces, which belong to the machine and are only borrowed: an address of the home's prefix is
 * added and taken back, and nothing else is touched. Besides, the route that keeps packets for unused parts of the
 * home's prefixes from going back into the tunnel.
 */

import { SystemError } from "../errors.ts";
import { formatIpv6Prefix, type Ipv6Address, type Ipv6Prefix, isLinkLocal } from "../ip/address.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import {
  AddressFlag,
  type AddressMessage,
  decodeAddressMessage,
  encodeAddressMessage,
  encodeAddressQuery,
} from "../rtnetlink/address-message.ts";
import {
  decodeLinkMessage,
  encodeLinkMessage,
  encodeLinkQuery,
  LinkFlag,
  type LinkMessage,
} from "../rtnetlink/link-message.ts";
import type { InterfaceAddress } from "../rtnetlink/link-plan.ts";
import { encodeRouteMessage, RouteTable, RouteType } from "../rtnetlink/route-message.ts";
import { RequestFlag, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";
import { explained, hasCode, ignoring, ROUTE_PROTOCOL } from "./tunnel-link.ts";

/** The last of all routes to a prefix, as systemd-networkd has it for delegated ones. */
const LAST_METRIC = 0xffffffff;

/** What there is to know of a LAN's interface. */
export interface LanLink {
  readonly interfaceIndex: number;
  /** Octets, such as a MAC address; none on some links. */
  readonly linkLayerAddress: Uint8Array;
  /** Up, with a carrier, and with a link-local address to send from. */
  readonly usable: boolean;
}

export interface LanLinks {
  /**
   * Brings the interface up and makes it have this address and none that we gave it before. Done twice it changes
   * nothing. Undefined when there is no such interface. Rejects with `SystemError`.
   */
  configure(interfaceName: string, wanted: InterfaceAddress): Promise<LanLink | undefined>;
  /** Takes back what `configure` gave. Rejects with `SystemError`. */
  release(interfaceName: string): Promise<void>;
  /**
   * Lets packets for parts of these prefixes that no interface has be answered as unreachable, as RFC 7084 section
   * 4.3 (WPD-5) asks: with the default route they would circle between home and server. Rejects with `SystemError`.
   */
  guard(prefixes: readonly Ipv6Prefix[]): Promise<void>;
  /** Takes `guard` back. Rejects with `SystemError`. */
  unguard(prefixes: readonly Ipv6Prefix[]): Promise<void>;
}

export function openLanLinks(socket: RouteSocket): LanLinks {
  return new NetlinkLanLinks(socket);
}

class NetlinkLanLinks implements LanLinks {
  readonly #socket: RouteSocket;
  /** What we gave and not the user, for kernels that do not remember it. */
  readonly #given = new Map<string, InterfaceAddress>();

  constructor(socket: RouteSocket) {
    this.#socket = socket;
  }

  async configure(interfaceName: string, wanted: InterfaceAddress): Promise<LanLink | undefined> {
    const operation = `configure the LAN interface ${interfaceName}`;
    try {
      return await this.#configure(interfaceName, wanted, operation);
    } catch (error) {
      // It goes away while we look.
      if (hasCode(error, "ENODEV")) return undefined;
      throw explained(error, interfaceName, operation);
    }
  }

  async release(interfaceName: string): Promise<void> {
    const operation = `release the LAN interface ${interfaceName}`;
    try {
      const { index } = await this.#link(interfaceName, operation);
      for (const message of await this.#addresses(index, operation)) {
        if (this.#isOurs(interfaceName, message)) await this.#remove(message, operation);
      }
    } catch (error) {
      if (!hasCode(error, "ENODEV")) throw error;
    }
    this.#given.delete(interfaceName);
  }

  async guard(prefixes: readonly Ipv6Prefix[]): Promise<void> {
    for (const prefix of prefixes) {
      const work = this.#socket.request({
        operation: `make unused parts of ${formatIpv6Prefix(prefix)} unreachable`,
        type: RouteMessageType.newRoute,
        flags: RequestFlag.create | RequestFlag.exclusive,
        payload: unreachable(prefix),
      });
      await ignoring(["EEXIST"], work);
    }
  }

  async unguard(prefixes: readonly Ipv6Prefix[]): Promise<void> {
    for (const prefix of prefixes) {
      const work = this.#socket.request({
        operation: `remove the unreachable route to ${formatIpv6Prefix(prefix)}`,
        type: RouteMessageType.deleteRoute,
        payload: unreachable(prefix),
      });
      await ignoring(["ESRCH"], work);
    }
  }

  async #configure(
    interfaceName: string,
    wanted: InterfaceAddress,
    operation: string,
  ): Promise<LanLink> {
    const link = await this.#link(interfaceName, operation);
    const { index } = link;
    if ((link.flags & LinkFlag.up) === 0) {
      const payload = encodeLinkMessage({ index, flags: LinkFlag.up, change: LinkFlag.up });
      await this.#socket.request({ operation, type: RouteMessageType.newLink, payload });
    }
    const present = await this.#addresses(index, operation);
    for (const message of present) {
      if (!this.#isOurs(interfaceName, message) || isSame(message, wanted)) continue;
      await this.#remove(message, operation);
    }
    if (!present.some((message) => isSame(message, wanted))) {
      await this.#add(wanted, index, operation);
      this.#given.set(interfaceName, wanted);
    }
    const canSend = present.some(
      ({ address, flags }) =>
        isLinkLocal(address as Ipv6Address) &&
        (flags & (AddressFlag.tentative | AddressFlag.dadFailed)) === 0,
    );
    return {
      interfaceIndex: index,
      linkLayerAddress: link.linkLayerAddress ?? new Uint8Array(),
      usable: canSend && (link.flags & LinkFlag.running) !== 0,
    };
  }

  async #link(name: string, operation: string): Promise<LinkMessage> {
    const [reply] = await this.#socket.request({
      operation,
      type: RouteMessageType.getLink,
      payload: encodeLinkQuery({ name }),
    });
    if (reply === undefined) throw new SystemError(operation, "ENODEV");
    return decodeLinkMessage(reply.payload);
  }

  async #addresses(index: number, operation: string): Promise<AddressMessage[]> {
    const replies = await this.#socket.request({
      operation,
      type: RouteMessageType.getAddress,
      flags: RequestFlag.dump,
      payload: encodeAddressQuery(AddressFamily.ipv6, index),
    });
    return replies
      .map(({ payload }) => decodeAddressMessage(payload))
      .filter(({ interfaceIndex }) => interfaceIndex === index);
  }

  #isOurs(interfaceName: string, message: AddressMessage): boolean {
    if (message.protocol === ROUTE_PROTOCOL) return true;
    const given = this.#given.get(interfaceName);
    return given !== undefined && isSame(message, given);
  }

  async #add(wanted: InterfaceAddress, index: number, operation: string): Promise<void> {
    const payload = encodeAddressMessage({
      family: AddressFamily.ipv6,
      prefixLength: wanted.prefixLength,
      flags: 0, // others share the link: the kernel shall look whether one has the address already
      scope: 0,
      interfaceIndex: index,
      address: wanted.address,
      protocol: ROUTE_PROTOCOL,
    });
    const flags = RequestFlag.create | RequestFlag.exclusive;
    const type = RouteMessageType.newAddress;
    await ignoring(["EEXIST"], this.#socket.request({ operation, type, flags, payload }));
  }

  async #remove(message: AddressMessage, operation: string): Promise<void> {
    const { family, prefixLength, interfaceIndex, address } = message;
    const payload = encodeAddressMessage({
      ...{ family, prefixLength, interfaceIndex, address },
      flags: 0,
      scope: 0,
    });
    const type = RouteMessageType.deleteAddress;
    await ignoring(["EADDRNOTAVAIL"], this.#socket.request({ operation, type, payload }));
  }
}

function isSame(message: AddressMessage, wanted: InterfaceAddress): boolean {
  return message.address === wanted.address && message.prefixLength === wanted.prefixLength;
}

function unreachable(prefix: Ipv6Prefix): Uint8Array {
  return encodeRouteMessage({
    family: AddressFamily.ipv6,
    destination: prefix.address,
    destinationLength: prefix.length,
    table: RouteTable.main,
    protocol: ROUTE_PROTOCOL,
    scope: 0,
    type: RouteType.unreachable,
    flags: 0,
    metric: LAST_METRIC,
  });
}
