/** A home's end whose address changes again and again and whose server is nobody, so that real changes meet practised code. */

import type { NeighborListeners } from "../common/adapters/neighbor-socket.ts";
import { randomSupply } from "../common/adapters/random.ts";
import { systemClock } from "../common/adapters/system-clock.ts";
import { parseIpv4 } from "../common/ip/address.ts";
import { withIcmpv6Checksum } from "../common/ip/icmpv6.ts";
import { encodeNeighborAdvertisement } from "../common/nd/neighbor-advertisement.ts";
import { silentLog } from "../common/runtime/log.ts";
import type { Rehearsal } from "../common/runtime/ready-code.ts";
import { IdleDataPlane } from "../common/tunnel/idle-data-plane.ts";
import type { ClientConfig } from "./config.ts";
import { HomeTunnel } from "./home-tunnel.ts";

const UPLINK = { interfaceIndex: 1, interfaceName: "rehearsal", mtu: 1500 };
const HERE = { ...UPLINK, address: parseIpv4("10.0.0.1") };
const THERE = { ...UPLINK, address: parseIpv4("10.0.0.2") };

/** All of the home's life of a change but packets. `config` is the real home's, `query` asks for the route to the server. */
export async function rehearsal(config: ClientConfig, query: () => unknown): Promise<Rehearsal> {
  const { linkLocal, serverLinkLocal } = config.tunnel;
  let neighbors: NeighborListeners | undefined;
  const home = new HomeTunnel({
    config,
    clock: systemClock(),
    dataPlane: new IdleDataPlane(),
    health: { problem: undefined },
    watcher: { hint: () => undefined, hints: 0 },
    openNeighbors: (_interface, listeners) => {
      neighbors = listeners;
      return { send: () => undefined, close: () => undefined };
    },
    isRouter: () => true,
    randomOctets: randomSupply(),
    version: "",
    log: silentLog(),
  });
  // What fails ends nothing: nobody depends on it.
  await home.open(() => undefined);
  const answer = withIcmpv6Checksum(
    serverLinkLocal,
    linkLocal,
    encodeNeighborAdvertisement({
      router: true,
      solicited: true,
      override: true,
      target: serverLinkLocal,
      options: [],
    }),
  );
  let changes = 0;
  return {
    once: () => {
      changes += 1;
      query();
      home.follow(changes % 2 === 0 ? HERE : THERE);
      neighbors?.onAdvertisement(answer, serverLinkLocal);
    },
    get completed() {
      return home.totals().confirmations.count;
    },
    close: () => home.close(),
  };
}
