/** QR codes (ISO/IEC 18004) for terminals: two rows of modules in each line of text. */

import { encode } from "uqr";

/** The standard wants four modules around it; readers are content with two. */
const BORDER = 2;
const ESCAPE = "\u001b";
/** Dark on light whatever the terminal's own colours are: readers look for that. */
const DARK_ON_LIGHT = `${ESCAPE}[38;5;16;48;5;231m`;
const RESET = `${ESCAPE}[0m`;

/** The code of a text, ending in a newline; undefined when it is wider than `columns`. */
export function formatQrCode(text: string, columns: number): string | undefined {
  const { data, size } = encode(text, { ecc: "L", border: BORDER });
  if (size > columns) return undefined;
  const isDark = (row: number, column: number) => data[row]?.[column] === true;
  let code = "";
  for (let row = 0; row < size; row += 2) {
    let line = "";
    for (let column = 0; column < size; column++) {
      line += blockOf(isDark(row, column), isDark(row + 1, column));
    }
    code += `${DARK_ON_LIGHT}${line}${RESET}\n`;
  }
  return code;
}

function blockOf(upper: boolean, lower: boolean): string {
  if (upper) return lower ? "█" : "▀";
  return lower ? "▄" : " ";
}
