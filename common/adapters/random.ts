/** Unpredictable octets for the cores, which have none of their own: a nonce, a private value, an SPI at a time. */

import { randomFillSync } from "node:crypto";

/** Octets asked of the system's generator at once: a call costs as much as hundreds of octets. */
const SUPPLY_LENGTH = 4_096;

/** Gives each octet once, and keeps no copy of it. */
export function randomSupply(): (count: number) => Uint8Array {
  const supply = new Uint8Array(SUPPLY_LENGTH);
  let used = SUPPLY_LENGTH;
  return (count) => {
    if (count > SUPPLY_LENGTH) return randomFillSync(new Uint8Array(count));
    if (used + count > SUPPLY_LENGTH) {
      randomFillSync(supply);
      used = 0;
    }
    const octets = supply.slice(used, used + count);
    supply.fill(0, used, used + count);
    used += count;
    return octets;
  };
}
