/**
 * The fixed part of an XFRM message: a C structure of known layout, little-endian but for what the network sees
 * (addresses, SPIs, ports). Offsets and sizes are those of linux/xfrm.h on machines with 64-bit alignment.
 */

import { MalformedError } from "../errors.ts";
import {
  formatIpv4,
  formatIpv6,
  IPV4_LENGTH,
  IPV6_LENGTH,
  type Ipv4Address,
  type Ipv6Address,
  ipv4Octets,
  ipv6Octets,
} from "../ip/address.ts";
import { AddressFamily, type IpAddress } from "../rtnetlink/address-family.ts";
import { type Attributes, decodeAttributes } from "../rtnetlink/attribute.ts";

/** How the kernel writes "without limit". */
const UNLIMITED = 0xffff_ffff_ffff_ffffn;

export class Struct {
  readonly octets: Uint8Array;
  readonly #view: DataView;

  constructor(octets: Uint8Array) {
    this.octets = octets;
    this.#view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  }

  /** A zeroed structure. */
  static make(length: number): Struct {
    return new Struct(new Uint8Array(length));
  }

  /** The structure a payload begins with. Throws `MalformedError`. */
  static of(payload: Uint8Array, length: number): Struct {
    if (payload.length < length) {
      throw malformed("truncated", `a structure of ${length} octets in ${payload.length}`);
    }
    return new Struct(payload.subarray(0, length));
  }

  u8(at: number): number {
    return this.#view.getUint8(at);
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** Counters: exact up to 2^53. */
  u64(at: number): number {
    return Number(this.#view.getBigUint64(at, true));
  }

  /** Undefined where there is none. */
  limit(at: number): number | undefined {
    const value = this.#view.getBigUint64(at, true);
    return value === UNLIMITED ? undefined : Number(value);
  }

  networkU16(at: number): number {
    return this.#view.getUint16(at);
  }

  networkU32(at: number): number {
    return this.#view.getUint32(at);
  }

  /** `xfrm_address_t` has room for either family; all but IPv4 is read as IPv6. */
  address(at: number, family: number): IpAddress {
    return family === AddressFamily.ipv4
      ? formatIpv4(this.octets.subarray(at, at + IPV4_LENGTH))
      : formatIpv6(this.octets.subarray(at, at + IPV6_LENGTH));
  }

  setU8(at: number, value: number): this {
    this.#view.setUint8(at, value);
    return this;
  }

  setU16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  setU32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  setU64(at: number, value: number): this {
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  setLimit(at: number, value: number | undefined): this {
    this.#view.setBigUint64(at, value === undefined ? UNLIMITED : BigInt(value), true);
    return this;
  }

  setNetworkU16(at: number, value: number): this {
    this.#view.setUint16(at, value);
    return this;
  }

  setNetworkU32(at: number, value: number): this {
    this.#view.setUint32(at, value);
    return this;
  }

  setAddress(at: number, value: IpAddress): this {
    this.octets.set(
      familyOf(value) === AddressFamily.ipv4
        ? ipv4Octets(value as Ipv4Address)
        : ipv6Octets(value as Ipv6Address),
      at,
    );
    return this;
  }

  set(at: number, octets: Uint8Array): this {
    this.octets.set(octets, at);
    return this;
  }
}

/** An address's text tells its family. */
export function familyOf(address: IpAddress): number {
  return address.includes(":") ? AddressFamily.ipv6 : AddressFamily.ipv4;
}

/** The attributes behind a structure of `length` octets. Throws `MalformedError`. */
export function attributesAfter(payload: Uint8Array, length: number): Attributes {
  return decodeAttributes(payload, length);
}

export function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("xfrm", code, detail);
}
