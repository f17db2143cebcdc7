import { describe, expect, it } from "vitest";
import { sealedLength } from "../../../common/esp/packet.ts";
import { suiteFacts } from "../../../common/esp/suite.ts";
import { MAX_TUNNEL_MTU, MIN_TUNNEL_MTU, tunnelMtu } from "../../../common/tunnel/mtu.ts";

const CBC = "aes-cbc-256-hmac-sha2-256-128";

describe("the MTU of a tunnel", () => {
  it.each([
    // by hand, from the layout in RFC 4303 section 2, RFC 4106, RFC 3602 and RFC 3948
    { uplink: 1500, encapsulation: "esp", suite: "aes-gcm-128", mtu: 1446 },
    { uplink: 1500, encapsulation: "esp", suite: "aes-gcm-192", mtu: 1446 },
    { uplink: 1500, encapsulation: "esp", suite: "aes-gcm-256", mtu: 1446 },
    { uplink: 1500, encapsulation: "udp", suite: "aes-gcm-256", mtu: 1438 },
    { uplink: 1500, encapsulation: "esp", suite: CBC, mtu: 1438 },
    { uplink: 1500, encapsulation: "udp", suite: CBC, mtu: 1422 },
    { uplink: 1492, encapsulation: "esp", suite: "aes-gcm-256", mtu: 1438 }, // PPPoE
    { uplink: 1492, encapsulation: "udp", suite: CBC, mtu: 1422 },
    { uplink: 1334, encapsulation: "esp", suite: "aes-gcm-256", mtu: 1280 },
    { uplink: 1300, encapsulation: "esp", suite: "aes-gcm-256", mtu: 1280 }, // outer fragments
    { uplink: 0, encapsulation: "udp", suite: CBC, mtu: 1280 },
    { uplink: 9000, encapsulation: "esp", suite: "aes-gcm-256", mtu: 1900 }, // packet buffers
    { uplink: 65_536, encapsulation: "udp", suite: CBC, mtu: 1900 }, // loopback
  ] as const)("$uplink, $encapsulation, $suite: $mtu", ({ uplink, encapsulation, suite, mtu }) => {
    expect(tunnelMtu(uplink, encapsulation, suite)).toBe(mtu);
  });

  it("is the largest whose packets fit the uplink", () => {
    for (const suite of ["aes-gcm-256", CBC] as const) {
      const { sizes } = suiteFacts(suite);
      for (let uplink = 1500; uplink < 1600; uplink++) {
        const mtu = tunnelMtu(uplink, "esp", suite);
        expect(sealedLength(mtu, sizes) + 20).toBeLessThanOrEqual(uplink);
        expect(sealedLength(mtu + 1, sizes) + 20).toBeGreaterThan(uplink);
      }
    }
  });

  it("lets no sealed packet outgrow the packet buffers", () => {
    expect(MIN_TUNNEL_MTU).toBe(1280);
    expect(sealedLength(MAX_TUNNEL_MTU, suiteFacts(CBC).sizes)).toBeLessThanOrEqual(2048);
  });
});
