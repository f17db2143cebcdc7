import { describe, expect, it } from "vitest";
import { COLOURED, widthOf } from "../../../common/text/style.ts";
import { formatFacts, formatTable } from "../../../common/text/table.ts";

describe("a table", () => {
  it("has columns as wide as their widest cell, and no trailing spaces", () => {
    const columns = [
      { heading: "A" },
      { heading: "LONG", align: "right" },
      { heading: "C" },
    ] as const;
    const rows = [
      ["one", "1", ""],
      ["three", "12345", "x"],
    ];
    expect(formatTable(columns, rows)).toBe("A       LONG  C\none        1\nthree  12345  x\n");
  });

  it("does not count colour", () => {
    const rows = [[COLOURED.good("ok"), "x"]];
    const [, line = ""] = formatTable([{ heading: "STATE" }, { heading: "B" }], rows).split("\n");
    expect(widthOf(line)).toBe("STATE  x".length);
  });
});

describe("a list of facts", () => {
  it("has its values under each other", () => {
    const facts = [
      ["State", "up"],
      ["", "really"],
      ["Data plane", "userspace"],
    ] as const;
    expect(formatFacts(facts)).toBe("State       up\n            really\nData plane  userspace\n");
  });
});
