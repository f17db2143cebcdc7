/** Aligned text in columns. */

const GAP = "  ";

export interface Column {
  readonly heading: string;
  /** Numbers read best from the right. Default: left. */
  readonly align?: "left" | "right";
}

/** Columns as wide as their widest cell; no trailing spaces; ends in a newline. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [columns.map((column) => column.heading), ...rows];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => (line[i] ?? "").length)));
  const format = (line: readonly string[]) =>
    columns
      .map((column, i) => {
        const cell = line[i] ?? "";
        const width = widths[i] ?? 0;
        return column.align === "right" ? cell.padStart(width) : cell.padEnd(width);
      })
      .join(GAP)
      .trimEnd();
  return `${lines.map(format).join("\n")}\n`;
}

/** `name  value` lines with the values under each other; a name of "" continues the line above. */
export function formatFacts(facts: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${name.padEnd(width)}${GAP}${value}\n`).join("");
}
