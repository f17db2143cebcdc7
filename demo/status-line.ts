/** The living line while the traffic runs: the last two seconds of the ping, and how far the download is. */

import { monotonicMs } from "./moment.ts";
import { isAnswered, type Probe } from "./outage.ts";
import type { Screen } from "./screen.ts";
import type { Download, Ping } from "./watchers.ts";

const CELL = 100; // milliseconds
const CELLS = 20;
const BAR = 20; // columns
/** A younger request is not missed yet. */
const PENDING = 150; // milliseconds

export function statusLine({ style, spinner }: Screen, ping: Ping, download: Download): string {
  const { roundTripMs } = ping;
  const time = roundTripMs === undefined ? "" : `${roundTripMs.toFixed(1)} ms`;
  const done = download.octets / download.total;
  const full = Math.floor(done * BAR);
  const bar = style.good("━".repeat(full)) + style.faint("─".repeat(BAR - full));
  const percent = `${Math.floor(done * 100)} %`;
  return `  ${style.pending(spinner)} ping ${strip(ping.probes, style)} ${time.padStart(7)}   download ${bar} ${percent}`;
}

/** One mark for each tenth of a second; the present is on the right. */
function strip(probes: readonly Probe[], style: Screen["style"]): string {
  const last = Math.floor((monotonicMs() - PENDING) / CELL);
  const first = last - CELLS + 1;
  const cells: boolean[] = [];
  for (let i = probes.length - 1; i >= 0; i--) {
    const probe = probes[i];
    const cell = probe === undefined ? -1 : Math.floor(probe.sentAt / CELL) - first;
    if (probe === undefined || cell < 0) break;
    if (cell < CELLS) cells[cell] = (cells[cell] ?? true) && isAnswered(probe);
  }
  return Array.from({ length: CELLS }, (_, cell) => {
    const answered = cells[cell];
    if (answered === undefined) return " ";
    return answered ? style.good("▪") : style.bad("✗");
  }).join("");
}
