/**
 * A TCP transfer that goes on until its standard input ends, so that it lasts as long as what happens to the network
 * meanwhile:
 *
 *     transfer-process.ts receive PORT                prints "listening", then "OCTETS SHA-256"
 *     transfer-process.ts send ADDRESS PORT MARKER    prints "sending", then "OCTETS SHA-256"
 *
 * MARKER is what a capture is searched for.
 */

import { createHash } from "node:crypto";
import { createConnection, createServer } from "node:net";

const CHUNK = 16_384; // octets
const PACE = 10; // milliseconds between chunks

const say = (line: string) => process.stdout.write(`${line}\n`);
const [role, ...rest] = process.argv.slice(2);
if (role === "receive") receive(Number(rest[0]));
else send(rest[0] ?? "", Number(rest[1]), rest[2] ?? "");

function receive(port: number): void {
  const server = createServer((socket) => {
    const hash = createHash("sha256");
    let octets = 0;
    socket.on("data", (data) => {
      hash.update(data);
      octets += data.length;
    });
    socket.on("end", () => {
      say(`${octets} ${hash.digest("hex")}`);
      process.exit(0);
    });
    socket.on("error", (error) => fail(error));
  });
  server.listen(port, "::", () => say("listening"));
}

function send(address: string, port: number, marker: string): void {
  const hash = createHash("sha256");
  let octets = 0;
  let isEnding = false;
  process.stdin.on("end", () => {
    isEnding = true;
  });
  process.stdin.resume();
  const socket = createConnection(port, address, () => {
    say("sending");
    next();
  });
  socket.on("error", (error) => fail(error));

  function next(): void {
    if (isEnding) {
      socket.end(() => say(`${octets} ${hash.digest("hex")}`));
      return;
    }
    const line = `${marker} ${octets.toString().padStart(12, "0")} `;
    const chunk = Buffer.from(line.repeat(Math.ceil(CHUNK / line.length)).slice(0, CHUNK));
    hash.update(chunk);
    octets += chunk.length;
    socket.write(chunk, () => setTimeout(next, PACE));
  }
}

function fail(error: Error): never {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
