import { describe, expect, it } from "vitest";
import { KernelAssociations } from "../../../common/adapters/kernel-associations.ts";
import type { MulticastDirection } from "../../../common/tunnel/tunnel.ts";

const LIMIT = { packets: 100, octets: 1_000 };

function keys(spi: number) {
  return {
    spi,
    suite: "aes-gcm-128",
    encryptionKey: new Uint8Array(16),
    companion: new Uint8Array(4),
    extendedSequenceNumbers: true,
  } as const;
}

/** The peer's SPI is this end's and 0x1000. */
function add(associations: KernelAssociations, spi: number, multicast?: MulticastDirection) {
  const pair = { inbound: keys(spi), outbound: keys(spi + 0x1000), multicast };
  associations.add({ ...pair, encapsulation: "esp" }, LIMIT);
  return associations.find(spi) ?? expect.fail("it was added");
}

const sent = ({ wanted: { outbound, multicast } }: KernelAssociations) => [
  outbound?.spi,
  multicast?.spi,
];

describe("negotiated pairs in the kernel", () => {
  it("are sent with one at a time, the newest that was told, and never an older one", () => {
    const associations = new KernelAssociations();
    const first = add(associations, 0x100);
    const second = add(associations, 0x101);
    expect(sent(associations)).toEqual([0x1100, undefined]);
    associations.use(second);
    associations.use(first);
    expect(associations.isNewer(first)).toBe(false);
    expect(sent(associations)).toEqual([0x1101, undefined]);
  });

  it("for multicast are apart: each is followed by the newest of its kind", () => {
    const associations = new KernelAssociations();
    const multicast = add(associations, 0x100, "outbound");
    expect(sent(associations)).toEqual([undefined, 0x1100]);
    const link = add(associations, 0x101);
    const next = add(associations, 0x102, "outbound");
    add(associations, 0x103);
    expect(sent(associations)).toEqual([0x1101, 0x1100]);
    associations.remove(multicast);
    expect(sent(associations)).toEqual([0x1101, 0x1102]);
    associations.remove(next);
    associations.remove(link);
    expect(sent(associations)).toEqual([0x1103, undefined]);
  });

  it("that a home receives multicast with are never sent with", () => {
    const associations = new KernelAssociations();
    const multicast = add(associations, 0x100, "inbound");
    expect(associations.isNewer(multicast)).toBe(false);
    associations.use(multicast);
    expect(sent(associations)).toEqual([undefined, undefined]);
    expect(associations.uses).toMatchObject([{ isSentWith: false, multicast: "inbound" }]);
    expect(associations.wanted.inbound).toMatchObject([{ spi: 0x100, multicast: "inbound" }]);
  });
});
