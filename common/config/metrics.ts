/** Where metrics are served: the keys `metrics` and `allow-remote-metrics` of both daemons. */

import type { ConfigError } from "../errors.ts";
import { parseIpv4, parseIpv6 } from "../ip/address.ts";
import { mistake } from "./mistakes.ts";
import { bool, field, isSocketPath } from "./schema.ts";

const LAST_PORT = 65_535;
const LOOPBACK_IPV6 = "::1";

export type MetricsListen =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** To be spread into a daemon's table. */
export const metricsFields = {
  metrics: field(
    "a socket's absolute path, or an address and port such as 127.0.0.1:9436",
    (raw): MetricsListen | undefined => {
      if (typeof raw !== "string") return undefined;
      if (isSocketPath(raw)) return { kind: "unix", path: raw };
      return readAddressAndPort(raw);
    },
  )
    .optional()
    .meta({
      description: "Where Prometheus finds metrics, by HTTP at `/metrics`. Absent: nowhere.",
      example: '"127.0.0.1:9436"',
    }),
  "allow-remote-metrics": bool.default(false).meta({
    description:
      "Whether `metrics` may be an address that other machines can reach. Whoever reaches it can read all of it.",
    example: "true",
  }),
};

/** Metrics name all homes: who may read them beyond this machine is to be said, not guessed. */
export function remoteMetrics(
  config: { readonly metrics: MetricsListen | undefined; readonly allowRemoteMetrics: boolean },
  file: string,
): ConfigError[] {
  const { metrics: listen, allowRemoteMetrics } = config;
  const isLocal = listen === undefined || listen.kind === "unix" || isLoopback(listen.host);
  if (allowRemoteMetrics || isLocal) return [];
  const expectation =
    "expected a socket or a loopback address; to be reached from elsewhere, set allow-remote-metrics = true";
  return [mistake(file, ["metrics"], expectation)];
}

function isLoopback(host: string): boolean {
  return host === LOOPBACK_IPV6 || host.startsWith("127.");
}

/** `127.0.0.1:9436` or `[::1]:9436`. Throws `MalformedError` for an address that is none. */
function readAddressAndPort(text: string): MetricsListen | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})$/.exec(text);
  if (match === null) return undefined;
  const [, ipv6, ipv4 = "", digits] = match;
  const port = Number(digits);
  if (port > LAST_PORT) return undefined;
  const host = ipv6 === undefined ? parseIpv4(ipv4) : parseIpv6(ipv6);
  return { kind: "tcp", host, port };
}
