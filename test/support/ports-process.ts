/**
 * Ports, for tests of firewalls:
 *
 *     ports-process.ts listen PORT...        TCP and UDP; prints "ready"; UDP is echoed
 *     ports-process.ts scan ADDRESS PORT...  prints for each what answered, as JSON
 *     ports-process.ts hold ADDRESS PORT     connects, then sends each line of standard input and prints the answer
 */

import { createSocket } from "node:dgram";
import { createConnection, createServer } from "node:net";
import { networkInterfaces } from "node:os";

const PATIENCE = 1_500; // milliseconds
const [what = "", ...rest] = process.argv.slice(2);

type Answer = "open" | "closed" | "silent";

function tcp(host: string, port: number): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const end = (answer: Answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PATIENCE, () => end("silent"));
    socket.on("connect", () => end("open"));
    socket.on("error", () => end("closed"));
  });
}

function udp(host: string, port: number): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createSocket("udp6");
    const end = (answer: Answer) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end("silent"), PATIENCE);
    socket.on("message", () => end("open"));
    socket.on("error", () => end("closed"));
    socket.connect(port, host, () => socket.send("?"));
  });
}

/** Each by itself, so that an answer comes from the address that was asked. */
function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const own = all.filter(
    ({ family, address }) => family === "IPv6" && !/^(fe80:|::1$)/.test(address),
  );
  return own.length > 0 ? own.map(({ address }) => address) : ["::"];
}

if (what === "listen") {
  for (const port of rest.map(Number)) {
    await new Promise<void>((resolve) => {
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        socket.pipe(socket);
      });
      server.listen(port, "::", resolve);
    });
    for (const address of ownAddresses()) {
      const datagrams = createSocket("udp6");
      datagrams.on("message", (message, from) => datagrams.send(message, from.port, from.address));
      await new Promise<void>((resolve) => {
        datagrams.bind(port, address, resolve);
      });
    }
  }
  process.stdout.write("ready\n");
} else if (what === "scan") {
  const [host = "", ...ports] = rest;
  const answers = await Promise.all(
    ports.map(async (port) => [
      port,
      { tcp: await tcp(host, Number(port)), udp: await udp(host, Number(port)) },
    ]),
  );
  process.stdout.write(`${JSON.stringify(Object.fromEntries(answers))}\n`);
} else {
  const [host = "", port = ""] = rest;
  const socket = createConnection({ host, port: Number(port) });
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);
}
