import { expect, it } from "vitest";
import { fail, formatFindings, isFit, ok, warn } from "../../../common/doctor/finding.ts";
import { PLAIN } from "../../../common/text/style.ts";

const fine = [ok("uplink", "192.0.2.7 on wan"), warn("clock", "1970", "set it")];

it("tells each finding in a line, and what mends it below", () => {
  expect(formatFindings([...fine, fail("permissions", "missing")], PLAIN)).toBe(
    [
      "ok    uplink       192.0.2.7 on wan",
      "warn  clock        1970",
      "                   set it",
      "fail  permissions  missing",
      "",
    ].join("\n"),
  );
});

it("breaks lines for a screen of 80 columns", () => {
  const long = "a sentence that goes on and on, as some do ".repeat(4).trim();
  const text = formatFindings([warn("subject", long, `${long} ${"x".repeat(90)}`)], PLAIN);
  const lines = text.trimEnd().split("\n");
  expect(lines.filter((line) => line.length > 80)).toEqual([`${" ".repeat(15)}${"x".repeat(90)}`]);
  expect(lines.slice(1).every((line) => line.startsWith(" ".repeat(15)))).toBe(true);
});

it("finds a machine fit unless something fails", () => {
  expect(isFit(fine)).toBe(true);
  expect(isFit([...fine, fail("permissions", "missing")])).toBe(false);
});
