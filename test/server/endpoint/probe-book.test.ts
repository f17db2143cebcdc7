import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ProbeBook } from "../../../server/endpoint/probe-book.ts";
import { hex } from "../../support/hex.ts";

const nonce = (value: number) => new Uint8Array(8).fill(value);
/** What RFC 4443 section 4.2 makes of a request: type 129, the rest returned. */
const reply = (request: Uint8Array) => Uint8Array.of(129, ...request.subarray(1));

describe("a probe", () => {
  it("is an Echo Request whose data cannot be guessed", () => {
    const request = new ProbeBook().issue(1, hex("0102030405060708"));
    expect(request).toEqual(hex("80 00 0000 6874 0001 0102030405060708"));
  });

  it("is answered by the Echo Reply that returns its data", () => {
    const book = new ProbeBook();
    const request = book.issue(7, nonce(1));
    expect(book.redeem(reply(request))).toBe(7);
  });

  it("is answered once", () => {
    const book = new ProbeBook();
    const answer = reply(book.issue(7, nonce(1)));
    book.redeem(answer);
    expect(book.redeem(answer)).toBeUndefined();
  });

  it("tells which move it was for", () => {
    const book = new ProbeBook();
    const early = book.issue(1, nonce(1));
    const late = book.issue(2, nonce(2));
    expect([book.redeem(reply(late)), book.redeem(reply(early))]).toEqual([2, 1]);
  });

  it("is forgotten when three more have been sent", () => {
    const book = new ProbeBook();
    const first = book.issue(1, nonce(1));
    for (const value of [2, 3, 4]) book.issue(1, nonce(value));
    expect(book.redeem(reply(first))).toBeUndefined();
  });

  it.each([
    ["other data", hex("81 00 0000 6874 0001 ff02030405060708")],
    ["too little data", hex("81 00 0000 6874 0001 01020304050607")],
    ["too much data", hex("81 00 0000 6874 0001 010203040506070800")],
    ["another identifier", hex("81 00 0000 6875 0001 0102030405060708")],
    ["the request itself", hex("80 00 0000 6874 0001 0102030405060708")],
  ])("is not answered by %s", (_, icmp) => {
    const book = new ProbeBook();
    book.issue(1, hex("0102030405060708"));
    expect(book.redeem(icmp)).toBeUndefined();
  });

  it("is not answered by any octets, which do no harm", () => {
    const book = new ProbeBook();
    book.issue(1, hex("0102030405060708"));
    fc.assert(fc.property(fc.uint8Array(), (icmp) => book.redeem(icmp) === undefined));
  });
});
