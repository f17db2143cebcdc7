/** What `doctor` found: one line each, with what mends it. */

import type { Style } from "../text/style.ts";

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
  const lines = findings.flatMap(({ subject, verdict, detail, fix }) => [
    `${painted[verdict]}  ${subject.padEnd(width)}  ${detail}`,
    ...(fix === undefined ? [] : [`${" ".repeat(6)}${" ".repeat(width)}  ${style.faint(fix)}`]),
  ]);
  return `${lines.join("\n")}\n`;
}
