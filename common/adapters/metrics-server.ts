/**
 * Serves a page of metrics by HTTP, on a Unix socket or a TCP address. One path, one method, and little room and
 * time for whoever connects: a page is read by one or two monitoring systems every few seconds.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { MetricsListen } from "../config/metrics.ts";
import { METRICS_CONTENT_TYPE } from "../metrics/page.ts";
import type { Logger } from "../runtime/log.ts";
import { type Task, untilAborted } from "../runtime/tasks.ts";
import { codeOf, listenUnix, makeSocketDirectory, systemError } from "./unix-listener.ts";
import { writePieces } from "./write-pieces.ts";

const PATH = "/metrics";
const MOST_CONNECTIONS = 8;
const MOST_HEADER_OCTETS = 8_192;
/** Milliseconds for a whole request to come. */
const REQUEST_TIMEOUT = 5_000;
/** Milliseconds of silence, also in the middle of our answer, after which a connection is closed. */
const IDLE_TIMEOUT = 10_000;
/** Pages being made at once; each costs processor time, and of 10,000 homes some 20 MB. */
const MOST_PAGES = 2;

/** Makes a page: pieces of text, between which other work may be done. */
export type MetricsSource = () => Iterable<string>;

export interface MetricsServer {
  /** Where it listens; a TCP port of 0 was replaced by a real one. */
  readonly listen: MetricsListen;
  /** Stops listening, breaks off what is being answered, removes the socket. */
  close(): Promise<void>;
}

/**
 * `failed` hears what the source throws; the scraper is told, and the next one served. Throws `SystemError`, such as
 * `EADDRINUSE` or `EADDRNOTAVAIL`.
 */
export async function serveMetrics(
  listen: MetricsListen,
  source: MetricsSource,
  failed: (error: unknown) => void,
): Promise<MetricsServer> {
  let pages = 0;
  const server = createServer(
    { maxHeaderSize: MOST_HEADER_OCTETS, connectionsCheckingInterval: REQUEST_TIMEOUT },
    (request, response) => {
      const refusal = refusalOf(request) ?? (pages >= MOST_PAGES ? BUSY : undefined);
      if (refusal !== undefined) {
        refuse(response, refusal);
        return;
      }
      pages += 1;
      void tell(request, response, source)
        .catch(failed)
        .finally(() => {
          pages -= 1;
        });
    },
  );
  server.maxConnections = MOST_CONNECTIONS;
  server.requestTimeout = REQUEST_TIMEOUT;
  server.headersTimeout = REQUEST_TIMEOUT;
  server.keepAliveTimeout = IDLE_TIMEOUT;
  server.setTimeout(IDLE_TIMEOUT, (socket) => socket.destroy());
  server.on("clientError", (_error, socket) => socket.destroy());
  return { listen: await listenAt(server, listen), close: () => closeServer(server) };
}

/** The metrics as a part of a daemon. */
export function metricsTask(listen: MetricsListen, source: MetricsSource, log: Logger): Task {
  return {
    name: "metrics",
    prepare: () => {
      if (listen.kind === "unix") makeSocketDirectory(listen.path, operationAt(listen));
    },
    async run(signal, ready) {
      const failed = (err: unknown) => log.error({ err }, "cannot make the metrics");
      const server = await serveMetrics(listen, source, failed);
      log.info({ listen: describeListen(server.listen) }, "serving metrics");
      ready();
      await untilAborted(signal);
      await server.close();
    },
  };
}

function operationAt(listen: MetricsListen): string {
  return `serve metrics at ${describeListen(listen)}`;
}

function describeListen(listen: MetricsListen): string {
  if (listen.kind === "unix") return listen.path;
  const host = listen.host.includes(":") ? `[${listen.host}]` : listen.host;
  return `http://${host}:${listen.port}${PATH}`;
}

interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const NOT_FOUND: Refusal = { status: 404, text: `only ${PATH} is here\n` };
const WRONG_METHOD: Refusal = { status: 405, text: "only GET\n", headers: { Allow: "GET, HEAD" } };
const BUSY: Refusal = { status: 503, text: "too many pages at once\n" };
const FAILED: Refusal = { status: 500, text: "failed\n" };

/** Why a request gets no page, or undefined. */
function refusalOf({ url = "", method }: IncomingMessage): Refusal | undefined {
  if (url.split("?", 1)[0] !== PATH) return NOT_FOUND;
  return method === "GET" || method === "HEAD" ? undefined : WRONG_METHOD;
}

/** Nobody's request has a body that we want: the connection ends, so that none is read. */
function refuse(response: ServerResponse, { status, text, headers }: Refusal): void {
  response.writeHead(status, { "Content-Type": "text/plain", Connection: "close", ...headers });
  response.end(text);
}

async function tell(
  request: IncomingMessage,
  response: ServerResponse,
  source: MetricsSource,
): Promise<void> {
  try {
    response.setHeader("Content-Type", METRICS_CONTENT_TYPE);
    if (request.method === "GET") await writePieces(response, source());
    response.end();
  } catch (error) {
    // A page that breaks off in the middle must not pass for a whole one.
    if (response.headersSent) response.destroy();
    else refuse(response, FAILED);
    throw error;
  }
}

async function listenAt(server: Server, listen: MetricsListen): Promise<MetricsListen> {
  const operation = operationAt(listen);
  if (listen.kind === "unix") {
    await listenUnix(server, listen.path, operation);
    return listen;
  }
  const { host, port } = listen;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port, exclusive: true }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (cause) {
    throw systemError(operation, codeOf(cause), cause);
  }
  // Out of descriptors: whoever asked is not answered, the daemon goes on.
  server.on("error", () => undefined);
  const address = server.address();
  return typeof address === "object" && address !== null
    ? { ...listen, port: address.port }
    : listen;
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
