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
import type { TunnelName, TunnelSpec } from "../../../common/tunnel/tunnel.ts";

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
const add = (tunnel: UserspaceTunnel, spi: number, sent = 0, sequence = 1): Association =>
  tunnel.add({
    outbound: { spi, next: sent + 1, close: () => undefined } as unknown as OutboundSa<Slab>,
    outboundSequence: EPHEMERAL_OUTBOUND,
    inbound: { spi, sequence, close: () => undefined } as unknown as InboundSa<Slab>,
    inboundSequence: ephemeralInbound(),
    softLimit: { packets: 100, octets: 1_000 },
    encapsulation: "udp",
  });

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
