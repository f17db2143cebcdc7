/**
 * What a certificate's extensions say of its use, as far as node:crypto does not tell: RFC 5280 section 4.2, and RFC 4945
 * section 5.1.3 for IKE. What is critical and not understood here makes a certificate useless.
 */

import { ByteReader } from "../bytes/reader.ts";
import { MalformedError } from "../errors.ts";

/** DER's contents of object identifiers, in hexadecimal. */
const Extension = {
  keyUsage: "551d0f",
  subjectAltName: "551d11",
  basicConstraints: "551d13",
  nameConstraints: "551d1e",
  certificatePolicies: "551d20",
  extendedKeyUsage: "551d25",
} as const;
/** Read here or by node:crypto; policies of no kind are asked for, so any will do. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  Extension.keyUsage,
  Extension.subjectAltName,
  Extension.basicConstraints,
  Extension.certificatePolicies,
  Extension.extendedKeyUsage,
]);
/** anyExtendedKeyUsage, and of id-kp: serverAuth, clientAuth, ipsecIKE. */
const PURPOSES: ReadonlySet<string> = new Set([
  "551d2500",
  "2b06010505070301",
  "2b06010505070302",
  "2b06010505070311",
]);

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const EXTENSIONS = 0xa3; // [3]
const TRUE = 0xff;
/** Bits of the first octet of KeyUsage. */
const SIGNS = 0x80 | 0x40; // digitalSignature, nonRepudiation
const SIGNS_CERTIFICATES = 0x04; // keyCertSign

export interface CertificateUse {
  /** Nothing is critical that is not understood, and no names are constrained, which is not looked at. */
  readonly isUnderstood: boolean;
  /** It may prove who somebody is to IKE. */
  readonly mayAuthenticate: boolean;
  /** It may sign certificates. */
  readonly mayCertify: boolean;
  /** Certificates of authorities that may stand between it and the one that is looked at. */
  readonly maximumPathLength: number;
}

const USELESS: CertificateUse = {
  isUnderstood: false,
  mayAuthenticate: false,
  mayCertify: false,
  maximumPathLength: 0,
};

/** `certificate` is DER. One whose extensions cannot be read is of no use. */
export function useOf(certificate: Uint8Array): CertificateUse {
  try {
    return readUse(certificate);
  } catch (error) {
    if (error instanceof MalformedError) return USELESS;
    throw error;
  }
}

function readUse(certificate: Uint8Array): CertificateUse {
  const extensions = extensionsOf(certificate);
  const valueAt = (id: string) => extensions.find((extension) => extension.id === id)?.value;
  const usage = valueAt(Extension.keyUsage);
  const bits = usage === undefined ? SIGNS | SIGNS_CERTIFICATES : keyUsageBits(usage);
  const purposes = valueAt(Extension.extendedKeyUsage);
  const constraints = basicConstraints(valueAt(Extension.basicConstraints));
  return {
    isUnderstood: extensions.every(
      ({ id, isCritical }) =>
        id !== Extension.nameConstraints && (!isCritical || UNDERSTOOD.has(id)),
    ),
    mayAuthenticate:
      (bits & SIGNS) !== 0 &&
      (purposes === undefined || objectIdentifiers(purposes).some((id) => PURPOSES.has(id))),
    mayCertify: constraints.isAuthority && (bits & SIGNS_CERTIFICATES) !== 0,
    maximumPathLength: constraints.maximumPathLength,
  };
}

interface Element {
  readonly tag: number;
  readonly contents: Uint8Array;
}

interface ExtensionValue {
  readonly id: string;
  readonly isCritical: boolean;
  readonly value: Uint8Array;
}

function extensionsOf(certificate: Uint8Array): readonly ExtensionValue[] {
  const [signed] = elements(contentsOf(elements(certificate)[0], SEQUENCE));
  const list = elements(contentsOf(signed, SEQUENCE)).find(({ tag }) => tag === EXTENSIONS);
  if (list === undefined) return [];
  return elements(contentsOf(elements(list.contents)[0], SEQUENCE)).map((extension) => {
    const parts = elements(contentsOf(extension, SEQUENCE));
    const [id, second] = parts;
    return {
      id: hexadecimal(contentsOf(id, OBJECT_IDENTIFIER)),
      isCritical: second?.tag === BOOLEAN && second.contents[0] === TRUE,
      value: contentsOf(parts.at(-1), OCTET_STRING),
    };
  });
}

function keyUsageBits(value: Uint8Array): number {
  const [, first = 0] = contentsOf(elements(value)[0], BIT_STRING); // behind the number of unused bits
  return first;
}

function objectIdentifiers(value: Uint8Array): readonly string[] {
  return elements(contentsOf(elements(value)[0], SEQUENCE)).map((id) =>
    hexadecimal(contentsOf(id, OBJECT_IDENTIFIER)),
  );
}

function basicConstraints(value: Uint8Array | undefined): {
  readonly isAuthority: boolean;
  readonly maximumPathLength: number;
} {
  const parts = value === undefined ? [] : elements(contentsOf(elements(value)[0], SEQUENCE));
  const length = parts.find(({ tag }) => tag === INTEGER)?.contents;
  return {
    isAuthority: parts[0]?.tag === BOOLEAN && parts[0].contents[0] === TRUE,
    // Longer numbers are longer than any path.
    maximumPathLength: length?.length === 1 ? (length[0] ?? 0) : Number.POSITIVE_INFINITY,
  };
}

/** The DER elements that lie one after the other in some octets. */
function elements(octets: Uint8Array): readonly Element[] {
  const reader = new ByteReader("ikev2", octets);
  const found: Element[] = [];
  while (reader.remaining > 0) {
    const tag = reader.u8();
    const first = reader.u8();
    let length = first;
    if (first === 0x81) length = reader.u8();
    else if (first === 0x82) length = reader.u16();
    else if (first > 0x7f) throw malformed("a length");
    found.push({ tag, contents: reader.octets(length) });
  }
  return found;
}

function contentsOf(element: Element | undefined, tag: number): Uint8Array {
  if (element?.tag !== tag) throw malformed(`tag ${tag} is not where it should be`);
  return element.contents;
}

function hexadecimal(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex");
}

function malformed(detail: string): MalformedError {
  return new MalformedError("ikev2", "certificate", detail);
}
