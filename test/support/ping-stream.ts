/** Pings without pause, and how long they went unanswered. */

import { eventually, type Namespace, PATIENCE_MS, type Running } from "./namespace.ts";

export class PingStream {
  readonly #ping: Running;
  /** When answers came, milliseconds since 1970. */
  readonly #answers: number[] = [];
  #from = 0;

  private constructor(ping: Running) {
    this.#ping = ping;
  }

  /**
   * Returns after the first answer. `octets` of payload in each, filled with `pattern`, hexadecimal; one every `interval`
   * seconds.
   */
  static async start(
    from: Namespace,
    address: string,
    options: {
      readonly octets?: number;
      readonly pattern?: string;
      readonly interval?: number;
    } = {},
  ): Promise<PingStream> {
    const { octets = 56, pattern, interval = 0.02 } = options;
    const filling = pattern === undefined ? [] : ["-p", pattern];
    const how = ["-i", String(interval), "-s", String(octets), ...filling];
    const ping = from.spawn(["ping", "-n", "-D", ...how, address]);
    await ping.line(isAnswer);
    const stream = new PingStream(ping);
    stream.mark();
    return stream;
  }

  /** `longestGapMs` and `answered` speak of what follows. */
  mark(): void {
    this.#collect();
    this.#from = this.#answers.at(-1) ?? Date.now();
  }

  /** Waits for an answer that came after now. */
  async answered(timeoutMs = 20_000): Promise<void> {
    const now = Date.now();
    await eventually(async () => {
      this.#collect();
      return (this.#answers.at(-1) ?? 0) > now ? true : undefined;
    }, timeoutMs);
  }

  /** The longest time between two answers since the mark. */
  get longestGapMs(): number {
    this.#collect();
    const answers = [this.#from, ...this.#answers.filter((at) => at > this.#from)];
    const gaps = answers.slice(1).map((at, index) => at - (answers[index] ?? at));
    return Math.round(Math.max(0, ...gaps));
  }

  async stop(): Promise<void> {
    await this.#ping.stop();
  }

  /** Waits for one more answer and stops; tells how many of those before it were never answered. */
  async lost(): Promise<number> {
    await this.answered(PATIENCE_MS);
    this.#ping.kill("SIGINT");
    await this.#ping.exited;
    const answers = this.#ping.stdout.matchAll(/bytes from .* icmp_seq=(\d+)/g);
    const answered = new Set([...answers].map(([, sequence]) => Number(sequence)));
    return Math.max(0, ...answered) - answered.size;
  }

  #collect(): void {
    for (const line of this.#ping.rest().filter(isAnswer)) {
      this.#answers.push(1_000 * Number.parseFloat(line.slice(1)));
    }
  }
}

/** `[1700000000.123456] 64 bytes from 2001:db8:a::1: icmp_seq=1 ttl=63 time=0.5 ms` */
function isAnswer(line: string): boolean {
  return line.startsWith("[") && line.includes("bytes from");
}
