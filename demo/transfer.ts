/**
 * Two processes of the demonstration: `send PORT OCTETS RATE` serves random octets over TCP, `receive HOST PORT`
 * fetches them over one connection. Both write their news as lines of JSON, at the end the SHA-256. The sender
 * takes its time, so that the transfer outlasts what is to be seen, until it reads anything: then it hurries.
 */

import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { createConnection, createServer, type Socket } from "node:net";
import { monotonicMs } from "./moment.ts";

/** What a line says. */
export type TransferNews =
  | { readonly kind: "listening" }
  | { readonly kind: "connected"; readonly port: number }
  | { readonly kind: "progress"; readonly octets: number; readonly at: number }
  | { readonly kind: "done"; readonly octets: number; readonly sha256: string }
  | { readonly kind: "failed"; readonly reason: string };

const TICK = 10; // milliseconds
/** What the sender may catch up at once after it had to wait. */
const LARGEST_BURST = 256 * 1024; // octets
const NEWS_INTERVAL = 10; // milliseconds
/** How much is sent at the given rate; the rest at a fraction of it, or at a multiple in a hurry. */
const AT_EASE = 0.8;
const SLOWER = 1 / 20;
const FASTER = 4;

const [role, ...args] = process.argv.slice(2);
if (role === "send") serve(Number(args[0]), Number(args[1]), Number(args[2]));
else receive(args[0] ?? "", Number(args[1]));

/** Serves one connection, then ends. A second one would be a broken promise: nobody listens any more. */
function serve(port: number, octets: number, rate: number): void {
  const server = createServer((socket) => {
    server.close();
    send(socket, octets, rate);
  });
  server.listen(port, "::", () => tell({ kind: "listening" }));
}

function send(socket: Socket, octets: number, rate: number): void {
  const random = createCipheriv("aes-128-ctr", randomBytes(16), randomBytes(16));
  const hash = createHash("sha256");
  let sent = 0;
  let last = monotonicMs();
  let allowance = 0;
  let hurry = false;
  process.stdin.once("data", () => {
    hurry = true;
  });
  socket.on("error", fail);
  const timer = setInterval(() => {
    const now = monotonicMs();
    const pace = hurry ? FASTER : sent < octets * AT_EASE ? 1 : SLOWER;
    allowance = Math.min(allowance + ((now - last) * rate * pace) / 1_000, LARGEST_BURST);
    last = now;
    if (socket.writableNeedDrain) return;
    const length = Math.min(Math.floor(allowance), octets - sent);
    const block = random.update(Buffer.alloc(length));
    allowance -= length;
    sent += length;
    hash.update(block);
    socket.write(block);
    if (sent < octets) return;
    clearInterval(timer);
    socket.end();
    process.stdin.destroy();
    tell({ kind: "done", octets: sent, sha256: hash.digest("hex") });
  }, TICK);
}

function receive(host: string, port: number): void {
  const hash = createHash("sha256");
  const socket = createConnection({ host, port });
  let octets = 0;
  let toldAt = 0;
  socket.on("connect", () => tell({ kind: "connected", port: socket.localPort ?? 0 }));
  socket.on("data", (chunk) => {
    hash.update(chunk);
    octets += chunk.length;
    const at = monotonicMs();
    if (at - toldAt < NEWS_INTERVAL) return;
    toldAt = at;
    tell({ kind: "progress", octets, at });
  });
  socket.on("error", fail);
  socket.on("end", () => tell({ kind: "done", octets, sha256: hash.digest("hex") }));
}

function fail(error: Error): void {
  tell({ kind: "failed", reason: error.message });
  process.exitCode = 1;
}

function tell(news: TransferNews): void {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}
