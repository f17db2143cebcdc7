/**
 * Netlink attributes (linux/netlink.h, Documentation/userspace-api/netlink/intro.rst) and the integers between
 * them. Netlink speaks the machine's byte order; the machines that run this are little-endian. Addresses are in
 * network order, so they stay octets here.
 */

import { MalformedError } from "../errors.ts";

const HEADER = 4; // octets: nla_len, nla_type
const ALIGNMENT = 4;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER share the type's field. */
const TYPE_MASK = 0x3fff;

/** Values by attribute type; of a repeated one the last, as the kernel's own parser takes it. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** The attributes from `offset` to the end. Throws `MalformedError`. */
export function decodeAttributes(octets: Uint8Array, offset = 0): Attributes {
  if (offset > octets.length) {
    throw malformed("truncated", `need ${offset} octets before the attributes`);
  }
  const attributes = new Map<number, Uint8Array>();
  // Fewer octets than a header at the end are padding, which the kernel leaves out after the last attribute.
  for (let at = offset; octets.length - at >= HEADER; ) {
    const length = readU16(octets, at);
    if (length < HEADER) throw malformed("bad-length", `an attribute of ${length} octets`);
    if (length > octets.length - at) {
      throw malformed("truncated", `an attribute of ${length} octets at offset ${at}`);
    }
    attributes.set(readU16(octets, at + 2) & TYPE_MASK, octets.subarray(at + HEADER, at + length));
    at += align(length);
  }
  return attributes;
}

/** The attributes inside an attribute; none when it is absent. */
export function nestedIn(attributes: Attributes, type: number): Attributes {
  return decodeAttributes(attributes.get(type) ?? new Uint8Array());
}

export function u8In(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readU8(value, 0);
}

export function u32In(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readU32(value, 0);
}

/** Text ends at its first zero octet. */
export function textIn(attributes: Attributes, type: number): string | undefined {
  const value = attributes.get(type);
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

export function readU8(octets: Uint8Array, offset: number): number {
  const value = octets[offset];
  if (value === undefined) throw malformed("truncated", `need an octet at offset ${offset}`);
  return value;
}

export function readU16(octets: Uint8Array, offset: number): number {
  return readU8(octets, offset) | (readU8(octets, offset + 1) << 8);
}

export function readU32(octets: Uint8Array, offset: number): number {
  return (readU16(octets, offset) | (readU16(octets, offset + 2) << 16)) >>> 0;
}

/** Appends integers and attributes. */
export class AttributeWriter {
  readonly #octets: number[] = [];

  u8(value: number): this {
    this.#octets.push(value & 0xff);
    return this;
  }

  u16(value: number): this {
    return this.u8(value).u8(value >>> 8);
  }

  u32(value: number): this {
    return this.u16(value).u16(value >>> 16);
  }

  /** As they are: the structure that attributes follow. */
  octets(value: Uint8Array): this {
    this.#octets.push(...value);
    return this;
  }

  /** One attribute; left out when it has no value. */
  attribute(type: number, value: Uint8Array | undefined): this {
    if (value === undefined) return this;
    this.u16(HEADER + value.length).u16(type);
    this.#octets.push(...value);
    while (this.#octets.length % ALIGNMENT !== 0) this.#octets.push(0);
    return this;
  }

  u8Attribute(type: number, value: number | undefined): this {
    return this.attribute(type, value === undefined ? undefined : Uint8Array.of(value));
  }

  u32Attribute(type: number, value: number | undefined): this {
    if (value === undefined) return this;
    return this.attribute(type, new AttributeWriter().u32(value).finish());
  }

  textAttribute(type: number, value: string | undefined): this {
    if (value === undefined) return this;
    return this.attribute(type, new TextEncoder().encode(`${value}\0`));
  }

  /** An attribute of attributes; left out when nothing is in it. */
  nested(type: number, fill: (inner: AttributeWriter) => void): this {
    const inner = new AttributeWriter();
    fill(inner);
    const value = inner.finish();
    return value.length === 0 ? this : this.attribute(type, value);
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#octets);
  }
}

function align(length: number): number {
  return (length + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

export function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("rtnetlink", code, detail);
}
