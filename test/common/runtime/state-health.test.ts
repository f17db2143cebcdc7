import { expect, it } from "vitest";
import { SystemError } from "../../../common/errors.ts";
import { openLog } from "../../../common/runtime/log.ts";
import { StateHealth } from "../../../common/runtime/state-health.ts";

function watched() {
  const lines: { level: string; file: string; msg: string }[] = [];
  const stream = { write: (line: string) => lines.push(JSON.parse(line)) };
  const health = new StateHealth(openLog({ level: "info", format: "json" }, { stream }));
  return { health, lines };
}

const full = new SystemError("write endpoints", "ENOSPC");

it("tells the log when trouble begins and when it ends, not each time", () => {
  const { health, lines } = watched();
  const report = health.of("endpoints");
  report.written();
  report.failing(full);
  report.failing(full);
  report.written();
  report.written();
  expect(lines).toMatchObject([
    { level: "error", file: "endpoints", msg: "state cannot be written, going on without" },
    { level: "warn", file: "endpoints", msg: "state is written again" },
  ]);
});

it("has a problem until every file is written again", () => {
  const { health } = watched();
  health.of("endpoints").failing(full);
  health.of("lan.json").failing(new SystemError("write lan.json", "EROFS"));
  expect(health.problem).toBe("cannot write endpoints: ENOSPC");
  health.of("endpoints").written();
  expect(health.problem).toBe("cannot write lan.json: EROFS");
  health.of("lan.json").written();
  expect(health.problem).toBeUndefined();
});
