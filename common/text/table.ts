/** Aligned text in columns. */

import { widthOf } from "./style.ts";

const GAP = "  ";

export interface Column {
  readonly heading: string;
  /** Numbers read best from the right. Default: left. */
  readonly align?: "left" | "right";
}

/** A line of a list of facts; a name of "" continues the line above. */
export type Fact = readonly [name: string, value: string];

/** Columns as wide as their widest cell; no trailing spaces; ends in a newline. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [columns.map((column) => column.heading), ...rows];
  const widths = columns.map((_, i) => widest(lines.map((line) => line[i] ?? "")));
  const format = (line: readonly string[]) =>
    columns
      .map((column, i) => {
        const cell = line[i] ?? "";
        const space = " ".repeat((widths[i] ?? 0) - widthOf(cell));
        return column.align === "right" ? space + cell : cell + space;
      })
      .join(GAP)
      .trimEnd();
  return `${lines.map(format).join("\n")}\n`;
}

/** `name  value` lines with the values under each other. */
export function formatFacts(facts: readonly Fact[], name = (text: string) => text): string {
  const width = widest(facts.map(([each]) => each));
  return facts
    .map(([each, value]) => {
      const shown = each === "" ? "" : name(each);
      return `${shown}${" ".repeat(width - each.length)}${GAP}${value}\n`;
    })
    .join("");
}

/** Not `Math.max(...)`, whose arguments the stack holds: there may be 10,000. */
function widest(texts: readonly string[]): number {
  return texts.reduce((width, text) => Math.max(width, widthOf(text)), 0);
}
