/**
 * The whole job with the kernel's data plane at both ends or at one, over the laboratory of `tunnel-lab.ts`: swap, gap
 * and uplink change, through which an open TCP connection goes on.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Encapsulation, Suite } from "../../common/tunnel/tunnel.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const GCM: Suite = "aes-gcm-256";
const CBC: Suite = "aes-cbc-256-hmac-sha2-256-128";

/** Daemons that start on an emulated machine. */
const BUILDING_MS = 400_000;

interface HomeCase {
  readonly name: string;
  readonly dataPlane: "kernel" | "userspace" | "auto";
  readonly encapsulation: Encapsulation;
  readonly suite: Suite;
}

/** Daemons start slowly on an emulated machine: a server for all homes that it can be asked with. */
const servers: readonly { readonly server: "kernel" | "userspace"; homes: readonly HomeCase[] }[] =
  [
    {
      server: "kernel",
      homes: [
        { name: "alice", dataPlane: "kernel", encapsulation: "esp", suite: GCM },
        { name: "bob", dataPlane: "kernel", encapsulation: "udp", suite: CBC },
        { name: "carol", dataPlane: "userspace", encapsulation: "esp", suite: CBC },
        { name: "dave", dataPlane: "auto", encapsulation: "udp", suite: GCM },
      ],
    },
    {
      server: "userspace",
      homes: [{ name: "alice", dataPlane: "kernel", encapsulation: "udp", suite: GCM }],
    },
  ];

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt()).each(servers)(
  "the main job with a server in $server",
  ({ server, homes }) => {
    let lab: TunnelLab;

    beforeAll(async () => {
      lab = await TunnelLab.open({
        homes: homes.map(({ dataPlane, ...home }) => ({
          ...home,
          client: `data-plane = "${dataPlane}"`,
        })),
        server: `data-plane = "${server}"\nallow-private-endpoints = true`,
      });
      expect((await lab.server.status()).dataPlane.kind).toBe(server);
    }, BUILDING_MS);

    afterAll(async () => {
      await lab?.dispose();
    });

    it.concurrent.each(homes)("$name in $dataPlane, $encapsulation, $suite", async (parts) => {
      const home = lab.home(parts.name);
      const expected = parts.dataPlane === "auto" ? "kernel" : parts.dataPlane;
      expect((await home.client.status()).dataPlane.kind).toBe(expected);
      await home.reachesFar();
      await home.reachesFar(1300);
      // To the home: this is the way that goes wrong when the server does not know where the home is.
      const transfer = await Transfer.start({
        from: lab.far,
        to: home.namespace,
        address: home.address,
        port: 5001,
      });

      await home.take(8);
      await lab.confirmed(home, home.ipv4(8));
      await home.reachesFar();
      await home.isReachedFrom();

      await home.leave();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await home.take(9, "wan2");
      await lab.confirmed(home, home.ipv4(9, "wan2"));
      await home.reachesFar();
      await home.isReachedFrom();
      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
      expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
      const { traffic } = await home.atServer(lab.server);
      expect(traffic.refused).not.toHaveProperty("not-authentic");
      expect(traffic.refused).not.toHaveProperty("replayed");
    });
  },
);
