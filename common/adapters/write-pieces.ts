/** Writing a long text to a stream without keeping anybody waiting. */

import type { Writable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

/**
 * Writes the pieces as fast as the reader takes them; between two all other work of the process has its turn. An
 * empty piece only takes the turn. Returns early, without an error, when the stream is closed meanwhile; what the
 * iterable throws is thrown.
 */
export async function writePieces(stream: Writable, pieces: Iterable<string>): Promise<void> {
  for (const piece of pieces) {
    if (piece !== "" && !stream.write(piece)) await drained(stream);
    await turn();
    if (stream.destroyed) return;
  }
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off("drain", done);
      stream.off("close", done);
      resolve();
    };
    stream.on("drain", done);
    stream.on("close", done);
    if (stream.destroyed) done();
  });
}
