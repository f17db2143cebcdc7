/** The word a mistyped word probably stands for. */

/** Edits a slip of the fingers makes at most; more is another word. */
const MOST_EDITS = 3;

/** The candidate within a few edits of `word`, fewer than half its length; the first of equals. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const limit = Math.min(MOST_EDITS, Math.floor(word.length / 2));
  let best: { candidate: string; edits: number } | undefined;
  for (const candidate of candidates) {
    const edits = editsBetween(word, candidate);
    if (edits <= limit && (best === undefined || edits < best.edits)) best = { candidate, edits };
  }
  return best?.candidate;
}

/** Levenshtein's distance, one row at a time. */
function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const substituted = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
