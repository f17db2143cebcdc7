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

it("finds a machine fit unless something fails", () => {
  expect(isFit(fine)).toBe(true);
  expect(isFit([...fine, fail("permissions", "missing")])).toBe(false);
});
