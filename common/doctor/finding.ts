/** What `doctor` found: one line each, with what mends it. */

import type { Style } from "../text/style.ts";

const SCREEN = 80; // columns
/** Where subjects are long, details still are not one word a line. */
const NARROWEST = 30; // columns
const VERDICT_WIDTH = 6; // columns, with the gap behind it
const GAP = 2; // columns

export type Verdict = "ok" | "warn" | "fail";

export interface Finding {
  /** What was looked at, such as `kernel data plane`. */
  readonly subject: string;
  readonly verdict: Verdict;
  /** What was seen. */
  readonly detail: string;
  /** What to do about it. */
  readonly fix?: string | undefined;
}

export function ok(subject: string, detail: string): Finding {
  return { subject, verdict: "ok", detail };
}

/** It works without, but not as well. */
export function warn(subject: string, detail: string, fix?: string): Finding {
  return { subject, verdict: "warn", detail, fix };
}

/** It does not work so. */
export function fail(subject: string, detail: string, fix?: string): Finding {
  return { subject, verdict: "fail", detail, fix };
}

/** Whether hometun can do its work here. */
export function isFit(findings: readonly Finding[]): boolean {
  return findings.every(({ verdict }) => verdict !== "fail");
}

export function formatFindings(findings: readonly Finding[], style: Style): string {
  const width = Math.max(0, ...findings.map(({ subject }) => subject.length));
  const painted: Readonly<Record<Verdict, string>> = {
    ok: style.good("ok  "),
    warn: style.pending("warn"),
    fail: style.bad("fail"),
  };
  const indent = VERDICT_WIDTH + width + GAP;
  const wrapped = (text: string, style: Style["good"]) =>
    wrap(text, Math.max(SCREEN - indent, NARROWEST))
      .map(style)
      .join(`\n${" ".repeat(indent)}`);
  const lines = findings.flatMap(({ subject, verdict, detail, fix }) => [
    `${painted[verdict]}  ${subject.padEnd(width)}  ${wrapped(detail, (text) => text)}`,
    ...(fix === undefined ? [] : [`${" ".repeat(indent)}${wrapped(fix, style.faint)}`]),
  ]);
  return `${lines.join("\n")}\n`;
}

/** Lines no longer than `width`, but for words that are. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
