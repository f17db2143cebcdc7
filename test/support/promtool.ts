/** Prometheus' own judge of metrics, where it is installed. */

import { spawnSync } from "node:child_process";

/** What `promtool check metrics` has against a page; empty when nothing. */
export function judgeByPromtool(page: string): { found: boolean; complaints: string } {
  const { error, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
    input: page,
    encoding: "utf8",
  });
  return error === undefined
    ? { found: true, complaints: stdout + stderr }
    : { found: false, complaints: "" };
}
