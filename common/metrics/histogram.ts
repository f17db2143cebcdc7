/** Counts how often values of each size were seen, in the shape that Prometheus wants. */

/**
 * Seconds from an address change to its confirmation: a round trip when all goes well, a few retries when not,
 * minutes when a server was away.
 */
export const CONFIRMATION_BOUNDS: readonly number[] = [
  0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
];

export class Histogram {
  readonly #bounds: readonly number[];
  /** Of each bucket alone; the last is for what is above all bounds. */
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  /** `bounds` rise, and belong to the bucket below them. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  get sum(): number {
    return this.#sum;
  }

  get count(): number {
    return this.#count;
  }

  observe(value: number): void {
    const found = this.#bounds.findIndex((bound) => value <= bound);
    const bucket = found < 0 ? this.#bounds.length : found;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
    this.#count += 1;
  }

  /** How many values were at most so large; the last bound is infinite. */
  *buckets(): Generator<{ readonly bound: number; readonly count: number }> {
    let count = 0;
    for (const [index, each] of this.#counts.entries()) {
      count += each;
      yield { bound: this.#bounds[index] ?? Number.POSITIVE_INFINITY, count };
    }
  }
}
