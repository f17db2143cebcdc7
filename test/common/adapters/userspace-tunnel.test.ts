import { describe, expect, it } from "vitest";
import type { Slab } from "../../../common/adapters/linux/slab.ts";
import { type Association, UserspaceTunnel } from "../../../common/adapters/userspace-tunnel.ts";
import type { InboundSa, OutboundSa } from "../../../common/esp/security-association.ts";
import type { Ipv6Address } from "../../../common/ip/address.ts";
import { AdvertisementPolice } from "../../../common/tunnel/advertisement-police.ts";
import {
  EPHEMERAL_OUTBOUND,
  ephemeralInbound,
} from "../../../common/tunnel/ephemeral-sequences.ts";
import { TunnelSelectors } from "../../../common/tunnel/selectors.ts";
import type { MulticastDirection, TunnelName, TunnelSpec } from "../../../common/tunnel/tunnel.ts";

const spec: TunnelSpec = {
  name: "alice" as TunnelName,
  interfaceName: "ht-alice",
  encapsulation: "udp",
  localAddresses: ["fe80::1" as Ipv6Address],
  peerLinkLocal: "fe80::2" as Ipv6Address,
  remotePrefixes: [],
  localPrefixes: [],
  routes: [],
  mtu: 1_400,
  clampMss: true,
};

const newTunnel = () =>
  new UserspaceTunnel({
    spec,
    tun: -1,
    interfaceIndex: 1,
    selectors: new TunnelSelectors(spec),
    police: new AdvertisementPolice({ rate: 10, burst: 20 }),
  });

/** A pair of SAs that has numbers and no keys; `sequence` is that of the packet it opened last. */
const add = (
  tunnel: UserspaceTunnel,
  spi: number,
  sent = 0,
  sequence = 1,
  multicast?: MulticastDirection,
): Association =>
  tunnel.add({
    outbound: { spi, next: sent + 1, close: () => undefined } as unknown as OutboundSa<Slab>,
    outboundSequence: EPHEMERAL_OUTBOUND,
    inbound: { spi, sequence, close: () => undefined } as unknown as InboundSa<Slab>,
    inboundSequence: ephemeralInbound(),
    softLimit: { packets: 100, octets: 1_000 },
    encapsulation: "udp",
    multicast,
  });

const addMulticast = (tunnel: UserspaceTunnel, spi: number, multicast: MulticastDirection) =>
  add(tunnel, spi, 0, 1, multicast);

describe("a tunnel with negotiated keys", () => {
  it("has nothing to send with before there are any", () => {
    expect(newTunnel().current).toBeUndefined();
  });

  it("sends with the first pair at once, and with another when it is told to", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256);
    const second = add(tunnel, 257);
    expect(tunnel.current).toBe(first);
    tunnel.use(second);
    expect(tunnel.current).toBe(second);
  });

  it("never goes back to an older pair", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256);
    const second = add(tunnel, 257);
    tunnel.use(second);
    tunnel.use(first);
    expect(tunnel.current).toBe(second);
  });

  it("sends with the newest that is left when the one in use is removed", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256);
    add(tunnel, 257);
    const third = add(tunnel, 258);
    tunnel.drop(first);
    expect(tunnel.current).toBe(third);
  });

  it("goes on with the one in use when another is removed, and has none after the last", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256);
    tunnel.drop(add(tunnel, 257));
    expect(tunnel.current).toBe(first);
    tunnel.drop(first);
    expect(tunnel.current).toBeUndefined();
  });

  it("takes no advertisement that came with an older pair than one before it", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256, 0, 1_000);
    const second = add(tunnel, 257, 0, 1);
    expect(tunnel.admitAdvertisement(first)).toBe(true);
    expect(tunnel.admitAdvertisement(second)).toBe(true);
    expect(tunnel.admitAdvertisement(first)).toBe(false);
  });

  it("tells how far each pair is used up", () => {
    const tunnel = newTunnel();
    const first = add(tunnel, 256, 30);
    first.sentOctets = 1_200;
    add(tunnel, 257);
    expect(tunnel.uses).toEqual([
      { spi: 256, isSentWith: true, packetsLeft: 70, octetsLeft: 0 },
      { spi: 257, isSentWith: false, packetsLeft: 100, octetsLeft: 1_000 },
    ]);
  });
});

describe("a pair for multicast", () => {
  it("is beside the one that all else is sent with, whichever came first", () => {
    const tunnel = newTunnel();
    const multicast = addMulticast(tunnel, 256, "outbound");
    expect(tunnel.current).toBeUndefined();
    const link = add(tunnel, 257);
    const later = addMulticast(tunnel, 258, "outbound");
    expect([tunnel.current, tunnel.currentMulticast]).toEqual([link, multicast]);
    tunnel.use(later);
    expect([tunnel.current, tunnel.currentMulticast]).toEqual([link, later]);
  });

  it("is followed by the newest of its kind that is left, and by no other", () => {
    const tunnel = newTunnel();
    const multicast = addMulticast(tunnel, 256, "outbound");
    const link = add(tunnel, 257);
    const later = addMulticast(tunnel, 258, "outbound");
    add(tunnel, 259);
    tunnel.drop(multicast);
    expect([tunnel.current, tunnel.currentMulticast]).toEqual([link, later]);
    tunnel.drop(later);
    expect([tunnel.current, tunnel.currentMulticast]).toEqual([link, undefined]);
  });

  it("is never what a home sends with, though authentic packets come with it", () => {
    const tunnel = newTunnel();
    const multicast = addMulticast(tunnel, 256, "inbound");
    tunnel.use(multicast);
    expect([tunnel.current, tunnel.currentMulticast]).toEqual([undefined, undefined]);
    tunnel.drop(add(tunnel, 257));
    expect(tunnel.current).toBeUndefined();
  });

  it("is told apart", () => {
    const tunnel = newTunnel();
    add(tunnel, 256);
    addMulticast(tunnel, 257, "inbound");
    addMulticast(tunnel, 258, "outbound");
    expect(tunnel.uses).toMatchObject([
      { spi: 256, isSentWith: true },
      { spi: 257, isSentWith: false, multicast: "inbound" },
      { spi: 258, isSentWith: true, multicast: "outbound" },
    ]);
  });
});
