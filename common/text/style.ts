/** Colour on a terminal, nothing elsewhere. */

const ESCAPE = "\u001b";
const SEQUENCES = new RegExp(`${ESCAPE}\\[[0-9;]*m`, "g");

export interface Style {
  /** All is as it should be. */
  good(text: string): string;
  /** On its way there. */
  pending(text: string): string;
  /** Not as it should be. */
  bad(text: string): string;
  strong(text: string): string;
  faint(text: string): string;
}

export const PLAIN: Style = {
  good: same,
  pending: same,
  bad: same,
  strong: same,
  faint: same,
};

export const COLOURED: Style = {
  good: sequence(32),
  pending: sequence(33),
  bad: sequence(31),
  strong: sequence(1),
  faint: sequence(2),
};

/** How many columns a text takes. */
export function widthOf(text: string): number {
  return text.replaceAll(SEQUENCES, "").length;
}

function same(text: string): string {
  return text;
}

function sequence(code: number): (text: string) => string {
  return (text) => `${ESCAPE}[${code}m${text}${ESCAPE}[0m`;
}
