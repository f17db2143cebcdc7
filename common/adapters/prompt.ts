/** Questions to whoever sits at the terminal, and lines from a pipe. */

import { createInterface, type Interface } from "node:readline/promises";
import { ConfigError } from "../errors.ts";

export class Prompt {
  readonly #terminal: Interface;
  readonly #gone: Promise<never>;

  constructor() {
    this.#terminal = createInterface({ input: process.stdin, output: process.stdout });
    this.#gone = new Promise((_, reject) => {
      this.#terminal.once("close", () => reject(new ConfigError("nothing was written")));
    });
    this.#gone.catch(() => undefined);
  }

  /** An empty answer is `usual`. Throws `ConfigError` when there will be no answer. */
  async ask(question: string, usual = ""): Promise<string> {
    const hint = usual === "" ? "" : ` [${usual}]`;
    const answer = this.#terminal.question(`${question}${hint}: `);
    return (await Promise.race([answer, this.#gone])).trim() || usual;
  }

  close(): void {
    this.#terminal.close();
  }
}

/** Whether somebody can be asked. */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/** The first line of the standard input, which is where secrets are handed over. */
export async function readLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    lines.close();
    return line.trim();
  }
  return "";
}
