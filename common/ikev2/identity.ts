/** Identities as people write them, and as IKEv2 carries them. RFC 7296 section 3.5. */

import { formatIpv4, formatIpv6, IPV4_LENGTH, IPV6_LENGTH } from "../ip/address.ts";
import { type Identification, IdentificationType } from "./wire/payloads/identification.ts";

/** A name with `@` in it is a mail address, another a domain name. Both are compared octet by octet. */
export function identificationOf(text: string): Identification {
  const data = new TextEncoder().encode(text);
  const type = text.includes("@")
    ? IdentificationType.emailAddress
    : IdentificationType.fullyQualifiedDomainName;
  return { type, data };
}

/** For logs and as a key: type and data, anything but plain ASCII in hexadecimal. */
export function formatIdentification({ type, data }: Identification): string {
  const isName =
    type === IdentificationType.emailAddress ||
    type === IdentificationType.fullyQualifiedDomainName;
  if (isName && data.length > 0 && data.every((octet) => octet > 0x20 && octet < 0x7f)) {
    return new TextDecoder().decode(data);
  }
  if (type === IdentificationType.ipv4Address && data.length === IPV4_LENGTH) {
    return formatIpv4(data);
  }
  if (type === IdentificationType.ipv6Address && data.length === IPV6_LENGTH) {
    return formatIpv6(data);
  }
  const digits = Array.from(data, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return `type ${type}: 0x${digits}`;
}

export function isSameIdentification(a: Identification, b: Identification): boolean {
  return (
    a.type === b.type &&
    a.data.length === b.data.length &&
    a.data.every((octet, i) => octet === b.data[i])
  );
}
