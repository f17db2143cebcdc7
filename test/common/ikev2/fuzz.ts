/**
 * Feeds mutated messages to a gateway and a home for as long as it is told to: no crash, no hang, no growth.
 *
 *     npm run fuzz -- [messages = 1000000] [seed = random]
 *
 * The seed is printed: with it, the same messages come again.
 *
 * Most of the messages break outside: what a stranger can send. One in sixteen breaks inside, sealed with the right
 * keys, so that it gets past the integrity check as that of a peer gone mad would; that soon ends its session.
 */

import { randomInt } from "node:crypto";
import { encodeInvalidSpi } from "../../../common/ikev2/exchanges/informational.ts";
import type { Path } from "../../../common/ikev2/nat-detection.ts";
import { HEADER_LENGTH } from "../../../common/ikev2/wire/header.ts";
import { at } from "../../support/timeline.ts";
import { forgedRequest, GATEWAY, HOME, Network, seeded } from "./support/network.ts";
import { charonSessions, plainMessage } from "./vectors/charon.ts";

const total = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? randomInt(2 ** 31));
if (!(Number.isSafeInteger(total) && total > 0 && Number.isSafeInteger(seed))) {
  process.stderr.write("fuzz: expected a number of messages, and a number as the seed\n");
  process.exit(2);
}
const random = seeded(seed);
/** A session gets at most so many messages. */
const ROUND = 256;
const INSIDE_ONE_IN = 16;
const MAXIMUM_GROWTH = 200 * 1024 * 1024; // octets
const SLOW_MS = 250;
const PROGRESS_MS = 5_000;

const number = (below: number) => {
  const [a = 0, b = 0, c = 0] = random(3);
  return ((a << 16) | (b << 8) | c) % below;
};
const one = <T>(values: readonly T[]): T => values[number(values.length)] as T;

const insides = charonSessions.flatMap((session) =>
  session.messages.map((_, index) => plainMessage(session, index)),
);
const outsides = charonSessions.flatMap((session) => session.messages);
const exchanges = [34, 35, 36, 36, 36, 37, 37, 99];
const toGateway = { local: GATEWAY, remote: HOME };
const toHome = { local: HOME, remote: GATEWAY };
const arrive = (message: Uint8Array, path: Path) =>
  ({ kind: "message", message, path, encapsulated: false, wallTime: 0 }) as const;

function mutated(octets: Uint8Array): Uint8Array {
  let result = octets.slice();
  for (let count = number(4); count >= 0; count--) {
    const place = number(Math.max(1, result.length));
    switch (number(5)) {
      case 0:
        result[place] = number(256);
        break;
      case 1:
        result[place] = (result[place] ?? 0) ^ (1 << number(8));
        break;
      case 2:
        result = result.subarray(0, place);
        break;
      case 3:
        result = Uint8Array.from([
          ...result.subarray(0, place),
          ...random(number(9)),
          ...result.subarray(place),
        ]);
        break;
      case 4: {
        const other = one(insides).plain;
        result = Uint8Array.from([
          ...result.subarray(0, place),
          ...other.subarray(number(other.length + 1)),
        ]);
        break;
      }
    }
  }
  return result;
}

/** The header's length made right, so that more gets past the first check. */
function withLength(message: Uint8Array): Uint8Array {
  if (message.length >= HEADER_LENGTH && number(4) > 0) {
    new DataView(message.buffer, message.byteOffset).setUint32(24, message.length);
  }
  return message;
}

let done = 0;
let slowest = 0;
let memoryAtStart = 0;
const effects = new Map<string, number>();
const startedAt = performance.now();
let toldAt = startedAt;

process.stdout.write(`${total} messages, seed ${seed}\n`);
while (done < total) {
  if (performance.now() > toldAt + PROGRESS_MS) {
    toldAt = performance.now();
    const rate = Math.round((done * 1_000) / (toldAt - startedAt));
    const percent = Math.floor((100 * done) / total);
    process.stdout.write(`${percent} %: ${done} messages, ${rate} a second\n`);
  }
  const network = new Network({ seed: seed + done, homeSettings: { revealKeys: true } });
  network.carriesPackets = false;
  network.start().run(1_000);
  const [pair] = network.children.home.values();
  const genuine = [
    ...network.sent.map(({ message }) => message),
    encodeInvalidSpi(pair?.outbound.spi ?? 0),
  ];
  let messageId = 2;
  for (let round = 0; round < ROUND; round++, done++) {
    const isInside = number(INSIDE_ONE_IN) === 0;
    const { first, plain } = one(insides);
    const message = isInside
      ? forgedRequest(network, {
          exchange: one(exchanges),
          messageId,
          first,
          plain: mutated(plain),
        })
      : withLength(mutated(one([...outsides, ...genuine])));
    // Of the processor, not of the clock: a busy machine is not our fault.
    const before = process.cpuUsage();
    const answers = network.gateway.handle(arrive(message, toGateway), at(network.now + round));
    if (!isInside) network.home.handle(arrive(message, toHome), at(network.now + round));
    slowest = Math.max(slowest, process.cpuUsage(before).user / 1000);
    if (isInside && answers.some(({ kind }) => kind === "send")) messageId += 1;
    for (const effect of answers) {
      const kind = effect.kind === "session" ? effect.effect.kind : effect.kind;
      effects.set(kind, (effects.get(kind) ?? 0) + 1);
    }
    if (network.gateway.sessionCount === 0) break;
  }
  if (memoryAtStart === 0 && done > total / 10) memoryAtStart = process.memoryUsage().heapUsed;
}

const growth = process.memoryUsage().heapUsed - memoryAtStart;
process.stdout.write(
  `${done} messages, slowest ${slowest.toFixed(1)} ms, heap ${(growth / 2 ** 20).toFixed(1)} MiB more than at a tenth\n` +
    `${[...effects].map(([kind, count]) => `${kind} ${count}`).join(", ")}\n`,
);
process.exitCode = slowest > SLOW_MS || growth > MAXIMUM_GROWTH ? 1 : 0;
