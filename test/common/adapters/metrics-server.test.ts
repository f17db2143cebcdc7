import { mkdtempSync, rmSync, statSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import {
  type MetricsServer,
  type MetricsSource,
  serveMetrics,
} from "../../../common/adapters/metrics-server.ts";
import type { MetricsListen } from "../../../common/config/metrics.ts";

let directory: string;
let path: string;
let servers: MetricsServer[];
let failures: unknown[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
  path = join(directory, "metrics.sock");
  servers = [];
  failures = [];
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  rmSync(directory, { recursive: true });
});

const LOOPBACK: MetricsListen = { kind: "tcp", host: "127.0.0.1", port: 0 };
const PAGE = "# HELP up Up\n# TYPE up gauge\nup 1\n";

const serve = async (listen: MetricsListen, source: MetricsSource = () => [PAGE]) => {
  const server = await serveMetrics(listen, source, (error) => failures.push(error));
  servers.push(server);
  return server;
};

const reach = (listen: MetricsListen) =>
  listen.kind === "unix" ? { socketPath: listen.path } : { host: listen.host, port: listen.port };

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

const ask = (listen: MetricsListen, method = "GET", target = "/metrics"): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const asked = request({ ...reach(listen), method, path: target, agent: false }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece: string) => {
        text += piece;
      });
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
    });
    asked.on("error", reject);
    asked.end();
  });

describe("a page", () => {
  it("is had from a Unix socket that is for owner and group only", async () => {
    const { listen } = await serve({ kind: "unix", path });
    const { status, headers, text } = await ask(listen);
    expect({ status, text }).toEqual({ status: 200, text: PAGE });
    expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect((statSync(path).mode & 0o777).toString(8)).toBe("660");
  });

  it("is had from a loopback address", async () => {
    const { listen } = await serve(LOOPBACK);
    expect((await ask(listen)).text).toBe(PAGE);
  });

  it("is made anew for each scrape", async () => {
    const pages = ["1", "2"];
    const { listen } = await serve(LOOPBACK, () => pages.splice(0, 1));
    await ask(listen);
    expect((await ask(listen)).text).toBe("2");
  });

  it("that is long comes whole, and others have their turn meanwhile", async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    });
    function* pieces(): Generator<string> {
      for (let i = 0; i < 200; i++) {
        const until = performance.now() + 1;
        while (performance.now() < until);
        yield "x".repeat(50_000);
      }
    }
    const { listen } = await serve(LOOPBACK, pieces);
    expect((await ask(listen)).text.length).toBe(10_000_000);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(20);
  });

  it("that cannot be made is told as such, and the next one is made", async () => {
    const answers: MetricsSource[] = [
      () => {
        throw new Error("no");
      },
    ];
    const { listen } = await serve(LOOPBACK, () => (answers.shift() ?? (() => [PAGE]))());
    expect((await ask(listen)).status).toBe(500);
    expect(failures).toEqual([new Error("no")]);
    expect((await ask(listen)).text).toBe(PAGE);
  });

  it("that fails half-way does not look whole", async () => {
    function* broken(): Generator<string> {
      yield PAGE;
      throw new Error("half");
    }
    const { listen } = await serve(LOOPBACK, broken);
    await expect(ask(listen)).rejects.toThrow();
  });
});

test.each([
  { method: "GET", target: "/", status: 404 },
  { method: "GET", target: "/metrics/", status: 404 },
  { method: "GET", target: "/../metrics", status: 404 },
  { method: "POST", target: "/metrics", status: 405 },
  { method: "DELETE", target: "/metrics", status: 405 },
  { method: "POST", target: "/", status: 404 },
  { method: "HEAD", target: "/metrics", status: 200 },
  { method: "GET", target: "/metrics?name=x", status: 200 },
])("$method $target is answered $status", async ({ method, target, status }) => {
  const { listen } = await serve(LOOPBACK);
  expect((await ask(listen, method, target)).status).toBe(status);
});

describe("who connects", () => {
  const open = (listen: MetricsListen): Promise<Socket> =>
    new Promise((resolve) => {
      const socket: Socket = connect(listen.kind === "unix" ? { path } : listen, () =>
        resolve(socket),
      );
      socket.on("error", () => undefined);
    });
  const closed = (socket: Socket) => new Promise((resolve) => socket.once("close", resolve));

  it("and speaks no HTTP is hung up on", async () => {
    const { listen } = await serve(LOOPBACK);
    const socket = await open(listen);
    const gone = closed(socket);
    socket.write("\0\0\0\0\r\n\r\n");
    await gone;
  });

  it("with endless headers is hung up on", async () => {
    const { listen } = await serve(LOOPBACK);
    const socket = await open(listen);
    const gone = closed(socket);
    socket.write(`GET /metrics HTTP/1.1\r\nX: ${"x".repeat(20_000)}`);
    await gone;
  });

  it("as the ninth is hung up on", async () => {
    const { listen } = await serve(LOOPBACK);
    const sockets = await Promise.all(Array.from({ length: 8 }, () => open(listen)));
    const ninth = await open(listen);
    await closed(ninth);
    for (const socket of sockets) socket.destroy();
  });
});

it("ends with the daemon, whoever is connected", async () => {
  const server = await serve({ kind: "unix", path });
  const idle = connect({ path });
  await new Promise((resolve) => idle.on("connect", resolve));
  await server.close();
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

it("says which address is taken", async () => {
  const { listen } = await serve(LOOPBACK);
  await expect(serve(listen)).rejects.toMatchObject({ name: "SystemError", code: "EADDRINUSE" });
});
