import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { examineStateDirectory } from "../../../common/adapters/doctor-checks.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

describe("of what was kept aside doctor says", () => {
  it("that manual keys are refused only where their numbers were lost", () => {
    writeFileSync(join(directory, "sequence-numbers.damaged-20261121T070000.000Z"), "");
    expect(examineStateDirectory(directory)).toMatchObject({
      verdict: "warn",
      fix: "manual keys of that time are refused: make new ones, then remove the file",
    });
  });

  it("else that it may be removed", () => {
    writeFileSync(join(directory, "lan.json.damaged-20261121T070000.000Z"), "");
    expect(examineStateDirectory(directory)).toMatchObject({
      verdict: "warn",
      detail: expect.stringMatching(/lan\.json\.damaged-.* was kept aside$/),
      fix: "nothing waits for it: look what happened to the disk, then remove the file",
    });
  });
});
