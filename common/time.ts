/** Milliseconds on a monotonic clock. Only the runtime reads a clock; everything else is told. */
export type Instant = number & { readonly __brand: "Instant" };

/** The instant `milliseconds` after `instant`. */
export function later(instant: Instant, milliseconds: number): Instant {
  return (instant + milliseconds) as Instant;
}

/** The earlier of two deadlines, either of which may be absent. */
export function earliest(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined) return b;
  return b === undefined || a < b ? a : b;
}
