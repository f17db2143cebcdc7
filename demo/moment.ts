/** Time as all processes of a machine agree on it. */

/** Milliseconds of the kernel's monotonic clock; `performance.now()` starts anew in each process. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
