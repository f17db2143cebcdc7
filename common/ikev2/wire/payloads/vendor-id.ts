/** The Vendor ID payload, RFC 7296 section 3.12: any octets; those we do not know mean nothing to us. */

export function decodeVendorId(body: Uint8Array): Uint8Array {
  return body;
}

export function encodeVendorId(vendorId: Uint8Array): Uint8Array {
  return vendorId;
}
