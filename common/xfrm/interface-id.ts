/**
 * The numbers of xfrm interfaces (`if_id`). Besides tying states and policies to an interface they say whose these
 * are: after a crash the daemon finds its own by them, and leaves everybody else's alone.
 */

/** Which of hometun's daemons: a machine may be a home and an ISP at once. */
export type XfrmOwner = "client" | "server";

/** The highest octet of the number: `h` for a home's, `s` for a server's. */
const MARK: Readonly<Record<XfrmOwner, number>> = { client: 0x68, server: 0x73 };
const NUMBERS = 0x100_0000; // 24 bits
/** Makes the letter a small one. */
const SMALL_LETTER = 0x2000_0000;

export function isOwnedBy(owner: XfrmOwner, interfaceId: number): boolean {
  return interfaceId >>> 24 === MARK[owner] && interfaceId % NUMBERS !== 0;
}

/** The request id of an interface's states for multicast, by which policies tell them from the others: in capitals. */
export function multicastRequestId(interfaceId: number): number {
  return interfaceId & ~SMALL_LETTER;
}

export function isMulticastRequestId(requestId: number): boolean {
  return (requestId & SMALL_LETTER) === 0;
}

/** The interface whose state it is, of whichever kind. */
export function interfaceIdOf(requestId: number): number {
  return requestId | SMALL_LETTER;
}

/** A number that is not taken; the same name gets the same one where it can. */
export function chooseInterfaceId(
  owner: XfrmOwner,
  interfaceName: string,
  taken: { has(interfaceId: number): boolean },
): number {
  for (let number = hash(interfaceName); ; number++) {
    const interfaceId = ((MARK[owner] << 24) | (number % NUMBERS)) >>> 0;
    if (interfaceId % NUMBERS !== 0 && !taken.has(interfaceId)) return interfaceId;
  }
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const octet of new TextEncoder().encode(text)) {
    value = Math.imul(value ^ octet, 0x01000193) >>> 0;
  }
  return value % NUMBERS;
}
