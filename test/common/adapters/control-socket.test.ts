import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  askControl,
  type ControlServer,
  controlTask,
  DaemonAbsentError,
  serveControl,
} from "../../../common/adapters/control-socket.ts";
import {
  type ControlHandler,
  done,
  JsonPieces,
  refused,
} from "../../../common/control/protocol.ts";

let directory: string;
let path: string;
let servers: ControlServer[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
  path = join(directory, "control.sock");
  servers = [];
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  rmSync(directory, { recursive: true });
});

const serve = async (handler: ControlHandler) => {
  const server = await serveControl(path, handler);
  servers.push(server);
  return server;
};

/** All that comes back for some octets. */
const exchange = (octets: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket: Socket = createConnection(path);
    let received = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      received += String(chunk);
    });
    socket.on("close", () => resolve(received));
    socket.write(octets);
  });

describe("a request", () => {
  it("is answered once", async () => {
    await serve((request) => done({ asked: request }));
    const reply = await askControl(path, { command: "status", home: "alice" });
    expect(reply).toEqual(done({ asked: { command: "status", home: "alice" } }));
  });

  it("may come in pieces", async () => {
    await serve(() => done(1));
    const reply = new Promise<string>((resolve) => {
      const socket = createConnection(path);
      socket.on("data", (chunk) => resolve(String(chunk)));
      socket.write('{"command":', () => socket.write('"status"}\n'));
    });
    expect(await reply).toBe('{"kind":"done","value":1}\n');
  });

  it("that is no request is refused", async () => {
    await serve(() => done(1));
    expect(await exchange("GET / HTTP/1.1\n")).toMatch(/^{"kind":"refused","code":"malformed"/);
    expect(await exchange('{"command":"stop"}\n')).toMatch(/"code":"unknown-command"/);
  });

  it("that does not end is refused", async () => {
    await serve(() => done(1));
    expect(await exchange("x".repeat(5_000))).toMatch(/"reason":"longer than 1024 octets"/);
  });

  it("whose handler throws is answered, and the next one too", async () => {
    const answers = [
      () => {
        throw new Error("not ready");
      },
      () => Promise.reject(new Error("lost")),
      () => done(10n),
      () => done("good"),
    ];
    await serve(() => answers.shift()?.() ?? refused("failed", "asked too often"));
    const ask = () => askControl(path, { command: "status" });
    expect(await ask()).toEqual(refused("failed", "not ready"));
    expect(await ask()).toEqual(refused("failed", "lost"));
    expect(await ask()).toMatchObject({ kind: "refused", code: "failed" });
    expect(await ask()).toEqual(done("good"));
  });

  it("gets a long reply whole", async () => {
    const value = "x".repeat(5_000_000);
    await serve(() => done(value));
    expect(await askControl(path, { command: "status" })).toEqual(done(value));
  });

  it("gets a reply that is made in pieces whole, and others have their turn meanwhile", async () => {
    function* pieces(): Generator<string> {
      yield "";
      yield "[0";
      for (let i = 1; i < 300; i++) {
        yield `,"${"x".repeat(20_000)}"`;
        yield "";
      }
      yield "]";
    }
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    });
    await serve(() => done(new JsonPieces(pieces())));
    const reply = await askControl(path, { command: "status" });
    clearInterval(timer);
    expect(reply).toMatchObject({ kind: "done", value: { length: 300 } });
    expect(turns).toBeGreaterThan(3);
  });

  it("whose pieces cannot be made is answered, or broken off", async () => {
    function* none(): Generator<string> {
      yield "";
      throw new Error("no piece");
    }
    function* half(): Generator<string> {
      yield "[";
      throw new Error("half");
    }
    const answers = [none(), half()];
    await serve(() => done(new JsonPieces(answers.shift() ?? [])));
    const ask = () => askControl(path, { command: "status" });
    expect(await ask()).toEqual(refused("failed", "no piece"));
    await expect(ask()).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("is refused while 16 others are being made", async () => {
    await serve(() => done(1));
    const idle = Array.from({ length: 16 }, () => createConnection(path));
    await Promise.all(
      idle.map((socket) => new Promise((resolve) => socket.on("connect", resolve))),
    );
    expect(await askControl(path, { command: "status" })).toMatchObject({ code: "busy" });
    for (const socket of idle) socket.destroy();
  });
});

describe("the socket", () => {
  it("is for owner and group only", async () => {
    await serve(() => done(1));
    expect((statSync(path).mode & 0o777).toString(8)).toBe("660");
  });

  it("goes away with the daemon", async () => {
    const server = await serveControl(path, () => done(1));
    await server.close();
    await expect(askControl(path, { command: "status" })).rejects.toThrow(DaemonAbsentError);
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  it("left over by a dead daemon is replaced", async () => {
    // Closed without unlinking, as by kill -9: a link keeps the name.
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(join(directory, "dead.sock"), resolve));
    const { linkSync } = await import("node:fs");
    linkSync(join(directory, "dead.sock"), path);
    await new Promise((resolve) => dead.close(resolve));
    await expect(askControl(path, { command: "status" })).rejects.toThrow(DaemonAbsentError);
    await serve(() => done("new"));
    expect(await askControl(path, { command: "status" })).toEqual(done("new"));
  });

  it("of a running daemon is left alone", async () => {
    await serve(() => done("first"));
    await expect(serveControl(path, () => done("second"))).rejects.toMatchObject({
      name: "SystemError",
      code: "EADDRINUSE",
      hint: "another instance is running",
    });
    expect(await askControl(path, { command: "status" })).toEqual(done("first"));
  });

  it("never takes the place of another kind of file", async () => {
    writeFileSync(path, "precious");
    await expect(serveControl(path, () => done(1))).rejects.toMatchObject({ code: "EEXIST" });
  });

  it("makes its directory, for its owner and group", async () => {
    const server = await serveControl(join(directory, "run", "ht", "a.sock"), () => done(1));
    expect(statSync(join(directory, "run", "ht")).mode & 0o777).toBe(0o750);
    await server.close();
  });

  it("says so when its directory cannot be made", async () => {
    const impossible = "/proc/nowhere/at/all.sock";
    const refusal = { code: "ENOENT", hint: expect.stringContaining("mkdir") };
    await expect(serveControl(impossible, () => done(1))).rejects.toMatchObject(refusal);
    const { prepare } = controlTask(impossible, () => done(1));
    expect(prepare).toThrow(/cannot listen on the control socket .* mkdir -p /);
  });

  it("that may not be used is said to be so", async ({ skip }) => {
    if (process.getuid?.() === 0) skip("root may use every socket");
    await serve(() => done(1));
    chmodSync(path, 0);
    await expect(askControl(path, { command: "status" })).rejects.toMatchObject({ code: "EACCES" });
  });
});

it("as a task is there from ready to abort", async () => {
  const stop = new AbortController();
  const task = controlTask(path, () => done("running"));
  let running: Promise<void> = Promise.resolve();
  await new Promise<void>((ready) => {
    running = task.run(stop.signal, ready);
  });
  expect(await askControl(path, { command: "status" })).toEqual(done("running"));
  stop.abort();
  await running;
  await expect(askControl(path, { command: "status" })).rejects.toThrow(DaemonAbsentError);
});
