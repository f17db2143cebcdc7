/** The one place that reads a clock or arms a timer. */

import type { Instant } from "../time.ts";

/** A callback that is still to come. */
export interface Timer {
  /** The callback will not run any more. Does no harm when it already ran. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds, with fractions. Stands still while the machine sleeps. */
  now(): Instant;
  /** Milliseconds since the epoch, as set by the user or NTP: it may jump. */
  wall(): number;
  /** Calls back once, never before `deadline` and never within this call. */
  at(deadline: Instant, callback: () => void): Timer;
}

/** Longer delays overflow Node's timers, which then fire at once. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** The machine's clocks. */
export function systemClock(): Clock {
  const now = () => performance.now() as Instant;
  return {
    now,
    wall: () => Date.now(),
    at(deadline, callback) {
      let handle: NodeJS.Timeout;
      // Node counts whole milliseconds from its loop's time and so can wake early: look, and sleep again.
      const wake = () => {
        if (now() < deadline) sleep();
        else callback();
      };
      const sleep = () => {
        const delay = Math.min(Math.ceil(deadline - now()), LONGEST_DELAY_MS);
        handle = setTimeout(wake, Math.max(delay, 0));
      };
      sleep();
      return { cancel: () => clearTimeout(handle) };
    },
  };
}
