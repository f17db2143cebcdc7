/** A short run of `npm run soak`, whose long ones docs/soak.md tells of. */

import { describe, expect, it } from "vitest";
import { soakChanges } from "../../soak/change-soak.ts";
import { deathsOf, type SoakKeys, soakCrashes } from "../../soak/crash-soak.ts";
import { canUseNamespaces } from "../support/namespace.ts";
import { daemonsAreBuilt } from "../support/tunnel-lab.ts";

const skipped = !canUseNamespaces({ tun: true }) || !daemonsAreBuilt();

describe.skipIf(skipped)("daemons that are killed while addresses change", () => {
  it.each<{ keys: SoakKeys; count: number }>([
    { keys: "ikev2", count: 5 },
    { keys: "manual", count: 5 },
  ])(
    "with keys $keys come back each time, repeat nothing and show nothing",
    async (plan) => {
      const { recoveries, wire, lost, broken } = await soakCrashes({ ...plan, seed: 5 });
      const times = recoveries.map(({ victim, ms }) => `${victim} ${Math.round(ms)} ms`);
      process.stdout.write(`${plan.keys}: back after ${times.join(", ")}\n`);
      expect(lost ?? broken).toBeUndefined();
      expect(deathsOf(recoveries)).toBeGreaterThanOrEqual(plan.count);
      expect(wire.packets).toBeGreaterThan(20 * plan.count);
      expect(wire).toMatchObject({ repeated: [], clear: 0, missed: 0 });
    },
    120_000,
  );
});

it.skipIf(skipped)(
  "a home that moves and moves is confirmed each time",
  async () => {
    const { confirmations } = await soakChanges({ count: 20, warmUp: 10, keys: "ikev2", seed: 5 });
    expect(confirmations).toHaveLength(30);
  },
  120_000,
);
