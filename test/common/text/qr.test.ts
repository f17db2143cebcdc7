import { describe, expect, it } from "vitest";
import { formatQrCode } from "../../../common/text/qr.ts";
import { widthOf } from "../../../common/text/style.ts";

/** What a code looks like, one text a row of modules. */
function modulesOf(code: string): string[] {
  const lines = code.trimEnd().split("\n");
  const rowsOf = (line: string) => {
    const blocks = [...line].filter((each) => " ▀▄█".includes(each));
    const upper = blocks.map((each) => ("▀█".includes(each) ? "#" : ".")).join("");
    const lower = blocks.map((each) => ("▄█".includes(each) ? "#" : ".")).join("");
    return [upper, lower];
  };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals' sequences have one
  return lines.flatMap((line) => rowsOf(line.replaceAll(/\u001b\[[0-9;]*m/g, "")));
}

/** ISO/IEC 18004 section 6.3.3.1. */
const FINDER = ["#######", "#.....#", "#.###.#", "#.###.#", "#.###.#", "#.....#", "#######"];

describe("a QR code on a terminal", () => {
  const code = formatQrCode("hometun:203.0.113.1?server=isp.example", 80) ?? "";
  const rows = modulesOf(code);
  const size = rows[0]?.length ?? 0;

  it("has a size of the standard, with two light modules around it", () => {
    expect((size - 4 - 17) % 4).toBe(0);
    expect(rows.slice(0, 2)).toEqual([".".repeat(size), ".".repeat(size)]);
  });

  it.each([
    { corner: "upper left", top: 2, left: 2 },
    { corner: "upper right", top: 2, left: size - 9 },
    { corner: "lower left", top: size - 9, left: 2 },
  ])("has its finder pattern in the $corner corner", ({ top, left }) => {
    const found = rows.slice(top, top + 7).map((row) => row.slice(left, left + 7));
    expect(found).toEqual(FINDER);
  });

  it("sets both colours: readers want dark on light", () => {
    for (const line of code.trimEnd().split("\n")) {
      expect(line.startsWith("\u001b[38;5;16;48;5;231m")).toBe(true);
      expect(line.endsWith("\u001b[0m")).toBe(true);
      expect(widthOf(line)).toBe(size);
    }
  });

  it("is left out where it does not fit", () => {
    expect(formatQrCode("hometun:203.0.113.1", size - 12)).toBeUndefined();
  });
});
