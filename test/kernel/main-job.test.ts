/**
 * The whole job with the kernel's data plane at both ends or at one, over the laboratory of `tunnel-lab.ts`: swap, gap
 * and uplink change, through which an open TCP connection goes on.
 */

import { afterEach, describe, expect, it } from "vitest";
import type { Encapsulation, Suite } from "../../common/tunnel/tunnel.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const GCM: Suite = "aes-gcm-256";
const CBC: Suite = "aes-cbc-256-hmac-sha2-256-128";

interface Pairing {
  readonly client: "kernel" | "userspace" | "auto";
  readonly server: "kernel" | "userspace" | "auto";
  readonly encapsulation: Encapsulation;
  readonly suite: Suite;
}

const pairings: readonly Pairing[] = [
  { client: "kernel", server: "kernel", encapsulation: "esp", suite: GCM },
  { client: "kernel", server: "kernel", encapsulation: "udp", suite: CBC },
  { client: "kernel", server: "userspace", encapsulation: "udp", suite: GCM },
  { client: "userspace", server: "kernel", encapsulation: "esp", suite: CBC },
  { client: "auto", server: "auto", encapsulation: "udp", suite: GCM },
];

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("the main job", () => {
  let lab: TunnelLab | undefined;

  afterEach(async () => {
    await lab?.dispose();
  });

  it.each(pairings)("$client home, $server server, $encapsulation, $suite", async (pairing) => {
    const { encapsulation, suite } = pairing;
    const opened = await TunnelLab.open({
      homes: [{ name: "alice", encapsulation, suite, client: `data-plane = "${pairing.client}"` }],
      server: `data-plane = "${pairing.server}"\nallow-private-endpoints = true`,
    });
    lab = opened;
    const home = opened.home("alice");
    const kinds = { client: pairing.client, server: pairing.server };
    const expected = (kind: string) => (kind === "auto" ? "kernel" : kind);
    expect((await home.client.status()).dataPlane.kind).toBe(expected(kinds.client));
    expect((await opened.server.status()).dataPlane.kind).toBe(expected(kinds.server));
    await home.reachesFar();
    await home.reachesFar(1300);
    // To the home: this is the way that goes wrong when the server does not know where the home is.
    const transfer = await Transfer.start({
      from: opened.far,
      to: home.namespace,
      address: home.address,
      port: 5001,
    });

    await home.take(8);
    await opened.confirmed(home, home.ipv4(8));
    await home.reachesFar();
    await home.isReachedFrom();

    await home.leave();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await home.take(9, "wan2");
    await opened.confirmed(home, home.ipv4(9, "wan2"));
    await home.reachesFar();
    await home.isReachedFrom();
    const { sent, received } = await transfer.finish();
    expect(received).toBe(sent);
    expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
    const { traffic } = await home.atServer(opened.server);
    expect(traffic.refused).not.toHaveProperty("not-authentic");
    expect(traffic.refused).not.toHaveProperty("replayed");
  });
});
