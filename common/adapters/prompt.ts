/** Questions to whoever sits at the terminal, and lines from a pipe. */

import { createInterface, type Interface } from "node:readline";
import { ConfigError } from "../errors.ts";

export class Prompt {
  readonly #terminal: Interface;
  /** Keeps what is typed, or pasted, ahead of the questions. */
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#terminal = createInterface({ input: process.stdin, output: process.stdout });
    this.#lines = this.#terminal[Symbol.asyncIterator]();
  }

  /** An empty answer is `usual`. Throws `ConfigError` when there will be no answer. */
  async ask(question: string, usual = ""): Promise<string> {
    const hint = usual === "" ? "" : ` [${usual}]`;
    this.#terminal.setPrompt(`${question}${hint}: `);
    this.#terminal.prompt();
    const { value, done } = await this.#lines.next();
    if (done === true) throw new ConfigError("nothing was written");
    return value.trim() || usual;
  }

  close(): void {
    this.#terminal.close();
  }
}

/** How often a question is asked before the answer is a mistake. */
const MOST_TRIES = 3;

/** Asks again, having told why, while `read` throws `ConfigError` on the answer. */
export async function insist<Value>(parts: {
  readonly ask: () => Promise<string>;
  readonly read: (answer: string) => Value;
  readonly tell: (why: string) => void;
}): Promise<Value> {
  for (let tries = 1; ; tries++) {
    const answer = await parts.ask();
    try {
      return parts.read(answer);
    } catch (error) {
      if (!(error instanceof ConfigError) || tries === MOST_TRIES) throw error;
      parts.tell(error.message);
    }
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
