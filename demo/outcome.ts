/** What a change was like, in words and as a verdict. */

import { availableParallelism, loadavg } from "node:os";
import type { MoveStatus } from "../common/control/traffic.ts";
import { formatTable } from "../common/text/table.ts";
import { formatCount } from "../common/text/units.ts";
import type { Change } from "./changes.ts";
import type { Outage } from "./outage.ts";
import type { Download } from "./watchers.ts";

/**
 * What a change may cost beyond the time without any address. It takes a few milliseconds, and hundreds where
 * others use the processors; a change that was not followed costs more than this.
 */
const LARGEST_OUTAGE = 2_000; // milliseconds
/** From here on it is worth a word that the processors were busy. */
const BUSY_SHOWS = 50; // milliseconds
/** A pause that much longer than the outage is worth a word. */
const RETRY_SHOWS = 200; // milliseconds
const DIGITS = 16; // of a checksum that are shown

/** What the ping, the server and the download made of a change. */
export interface Outcome {
  readonly change: Change;
  readonly outage: Outage;
  /** Of the outage, what was left after an address was there again. */
  readonly afterwardsMs: number;
  readonly move: MoveStatus;
  readonly pausedMs: number;
}

const COLUMNS = [
  { heading: "" },
  { heading: "CHANGE" },
  { heading: "HOME IS AT" },
  { heading: "PING OUT", align: "right" },
  { heading: "CONFIRMED", align: "right" },
  { heading: "TCP PAUSED", align: "right" },
] as const;

export function describeOutcome(outcome: Outcome, { port }: Download): string[] {
  const { change, outage, move, pausedMs, afterwardsMs } = outcome;
  const parts =
    change.awayMs === 0 ? `${outage.lost} lost` : `${inMs(afterwardsMs)} longer than the address`;
  return [
    outage.lost === 0
      ? "ping goes on, not one was lost"
      : `ping goes on; it was out for ${inMs(outage.ms)} (${parts})`,
    `the server confirmed the new address in ${inMs(move.confirmedInMs)}`,
    `the download goes on, same connection (port ${port}); it paused ${inMs(pausedMs)}`,
  ];
}

/** A table of all changes, and what became of the download. */
export function summarize(outcomes: readonly Outcome[], { ending }: Download): string[] {
  const rows = outcomes.map(({ change, outage, move, pausedMs }, i) => [
    `${i + 1}`,
    change.name,
    change.address,
    inMs(outage.ms),
    inMs(move.confirmedInMs),
    inMs(pausedMs),
  ]);
  const table = formatTable(COLUMNS, rows).trimEnd().split("\n");
  if (outcomes.some(({ outage, pausedMs }) => pausedMs > outage.ms + RETRY_SHOWS)) {
    table.push("", "After a silence TCP waits for its own next retry: hence the longer pause.");
  }
  const isBusy = (loadavg()[0] ?? 0) > availableParallelism();
  if (isBusy && outcomes.some((outcome) => costOf(outcome) > BUSY_SHOWS)) {
    table.push("", "Other programs keep this computer busy, and the figures contain that.");
  }
  if (ending === undefined) return [...table, ""];
  const { octets, sha256 } = ending.received;
  const verdict = sha256 === ending.sent.sha256 ? "the same at both ends" : "wrong";
  const checksum = `SHA-256 ${sha256.slice(0, DIGITS)}…, ${verdict}`;
  return [...table, "", `${formatCount(octets)} octets downloaded: ${checksum}.`];
}

/** What was not as it should be, in words. */
export function findProblems(
  outcomes: readonly Outcome[],
  { ending, failure, total }: Download,
): string[] {
  const problems = outcomes.flatMap((outcome) => {
    const { change } = outcome;
    const ms = costOf(outcome);
    if (ms <= LARGEST_OUTAGE) return [];
    return [`${change.name}: ping was out for ${inMs(ms)}, more than ${inMs(LARGEST_OUTAGE)}`];
  });
  if (failure !== undefined) problems.push(`the download broke: ${failure}`);
  else if (ending === undefined) problems.push("the download did not end");
  else if (ending.received.octets !== total) {
    const arrived = formatCount(ending.received.octets);
    problems.push(`${arrived} octets arrived, not ${formatCount(total)}`);
  } else if (ending.received.sha256 !== ending.sent.sha256) {
    problems.push(`what was sent has the SHA-256 ${ending.sent.sha256}`);
  }
  return problems;
}

/** The outage without what no tunnel can bridge. */
function costOf({ change, outage, afterwardsMs }: Outcome): number {
  return change.awayMs === 0 ? outage.ms : afterwardsMs;
}

/** `6.8 ms`, `1,009 ms`: always the same unit, to compare. */
function inMs(ms: number | undefined): string {
  if (ms === undefined) return "-";
  if (ms === 0) return "0 ms";
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${formatCount(Math.round(ms))} ms`;
}
