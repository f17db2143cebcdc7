/** What a ping and a download felt of a change. Instants are of the kernel's monotonic clock, in milliseconds. */

/** An answer that takes longer is as good as none. */
const LATE = 100; // milliseconds

export interface Probe {
  readonly sentAt: number;
  readonly answeredAt: number | undefined;
}

export interface Outage {
  readonly lost: number;
  /** From the first lost probe's sending to that of the next answered one. */
  readonly ms: number;
  /** When that one was sent; absent when nothing was lost. */
  readonly endedAt: number | undefined;
}

export function isAnswered({ sentAt, answeredAt }: Probe): boolean {
  return answeredAt !== undefined && answeredAt - sentAt <= LATE;
}

/** The longest run of lost probes among those sent since `from`. */
export function longestOutage(probes: readonly Probe[], from: number): Outage {
  let longest: Outage = { lost: 0, ms: 0, endedAt: undefined };
  let start: number | undefined;
  let lost = 0;
  for (const probe of probes) {
    if (probe.sentAt < from) continue;
    if (!isAnswered(probe)) {
      start ??= probe.sentAt;
      lost += 1;
    } else if (start !== undefined) {
      const ms = probe.sentAt - start;
      if (ms > longest.ms) longest = { lost, ms, endedAt: probe.sentAt };
      start = undefined;
      lost = 0;
    }
  }
  return longest;
}

/** How long nothing arrived, at the longest, between arrivals of which the later is after `from`. */
export function longestPause(arrivals: readonly number[], from: number): number {
  return arrivals.reduce((longest, at, i) => {
    const previous = arrivals[i - 1] ?? at;
    return at > from ? Math.max(longest, at - previous) : longest;
  }, 0);
}
