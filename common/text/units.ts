/** Durations, sizes and counts as people read them. */

const SECOND = 1_000; // milliseconds
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `7 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `9 d 4 h`: two units at most, rounded down. */
export function formatDuration(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < SECOND) return `${Math.floor(ms)} ms`;
  if (ms < 10 * SECOND) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return twoUnits(ms, { unit: MINUTE, name: "min" }, { unit: SECOND, name: "s" });
  if (ms < DAY) return twoUnits(ms, { unit: HOUR, name: "h" }, { unit: MINUTE, name: "min" });
  return twoUnits(ms, { unit: DAY, name: "d" }, { unit: HOUR, name: "h" });
}

/** `512 B`, `1.4 MiB`: three digits that matter. */
export function formatOctets(octets: number): string {
  let value = octets;
  let unit = 0;
  while (value >= 999.5 && unit < SIZE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${SIZE_UNITS[unit]}`;
}

/** `1,234,567` */
export function formatCount(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 packet`, `2,000 packets` */
export function formatQuantity(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

interface NamedUnit {
  readonly unit: number;
  readonly name: string;
}

function twoUnits(ms: number, large: NamedUnit, small: NamedUnit): string {
  const whole = Math.floor(ms / large.unit);
  const rest = Math.floor((ms % large.unit) / small.unit);
  return rest === 0 ? `${whole} ${large.name}` : `${whole} ${large.name} ${rest} ${small.name}`;
}
