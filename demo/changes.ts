/** What happens to the home. */

import type { Namespace } from "../test/support/namespace.ts";
import { monotonicMs, sleep } from "./moment.ts";
import { configure, UPLINKS } from "./network.ts";

export interface Change {
  /** A few words, for the summary. */
  readonly name: string;
  /** A sentence. */
  readonly title: string;
  /** From which address to which. */
  readonly path: string;
  /** Where the home is afterwards. */
  readonly address: string;
  /** How long it has no address in between. */
  readonly awayMs: number;
  /** Returns the instant from which the home had an address again. */
  carryOut(home: Namespace): Promise<number>;
}

const { first, second } = UPLINKS;
const [start, swapped, returned] = first.addresses;
const [other] = second.addresses;
const AWAY = 1_000; // milliseconds
const STANDBY = 500; // milliseconds

const take = (address: string) => [
  `addr add ${address}/24 dev ${first.interface}`,
  `route add default via ${first.router}`,
];
const giveUp = (address: string) => `addr del ${address}/24 dev ${first.interface}`;

export const CHANGES: readonly Change[] = [
  {
    name: "another address",
    title: "The ISP gives the home another address.",
    path: `${start} → ${swapped}`,
    address: swapped,
    awayMs: 0,
    async carryOut(home) {
      const at = monotonicMs();
      await configure(home, giveUp(start), ...take(swapped));
      return at;
    },
  },
  {
    name: "a second without any",
    title: "For one second the home has no address at all.",
    path: `${swapped} → none → ${returned}`,
    address: returned,
    awayMs: AWAY,
    async carryOut(home) {
      await configure(home, giveUp(swapped));
      await sleep(AWAY);
      const at = monotonicMs();
      await configure(home, ...take(returned));
      return at;
    },
  },
  {
    name: "another uplink",
    title: "The cable is pulled: the home moves to another uplink.",
    path: `${returned} on ${first.interface} → ${other} on ${second.interface}`,
    address: other,
    awayMs: 0,
    async carryOut(home) {
      // A second cable stands by; its default route is taken where there is no better one.
      await configure(
        home,
        `link set ${second.interface} up`,
        `route add default via ${second.router} metric 200`,
      );
      await sleep(STANDBY);
      const at = monotonicMs();
      await configure(home, `link set ${first.interface} down`);
      return at;
    },
  },
];
