/**
 * The pieces both daemons' configuration schemas are made of: TOML text in, checked values or every mistake out.
 * A piece says what it expects in words, so that a message never speaks of validators.
 *
 * Each key of a table has `.meta({ description, example })`: what it is for, and a value as TOML writes it.
 * docs/configuration.md is made of them (`npm run docs`).
 */

import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { type ConfigError, MalformedError } from "../errors.ts";
import {
  formatIpv6,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
  ipv4Octets,
  ipv6Octets,
  isInPrefix,
  isLinkLocal,
  isMulticast,
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
} from "../ip/address.ts";
import { nearest } from "../text/nearest.ts";
import type { TunnelName } from "../tunnel/tunnel.ts";
import {
  describe,
  describeSecret,
  LOOKS_SECRET,
  mistake,
  type Outcome,
  unknownKey,
} from "./mistakes.ts";

const MOST_SOCKET_PATH = 107; // octets of a Unix socket's path, sun_path in unix(7) less its NUL
export const MOST_INTERFACE_NAME = 15; // octets, IFNAMSIZ less its NUL
/** Of what a server's interfaces begin with: leaves room for what tells homes apart. */
const MOST_INTERFACE_PREFIX = 6;
const INTERFACE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const HOME_NAME = /^[A-Za-z0-9_-]{1,64}$/;
/** Shorter prefixes are typing mistakes: no home has a /15. */
const SHORTEST_PREFIX = 16; // bits
const SMALLEST_MTU = 1_280; // octets, RFC 8200 section 5
const LARGEST_MTU = 65_535; // octets

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
/** `auto`: pretty on a terminal, JSON elsewhere. */
export const LOG_FORMATS = ["auto", "pretty", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogConfig {
  readonly level: LogLevel;
  readonly format: LogFormat;
}

/** A text and the name of the file it came from. */
export interface Source {
  readonly file: string;
  readonly text: string;
  /** Whether others than its owner can read or change the file. */
  readonly exposed: boolean;
}

/** Reads one value; `undefined` or a `MalformedError` says that it is not what was expected. */
type Read<Value> = (raw: unknown) => Value | undefined;

/** The document a file's text stands for. */
export function parseToml(source: Source): Outcome<Readonly<Record<string, unknown>>> {
  try {
    return { kind: "good", value: parse(source.text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return { kind: "mistaken", mistakes: [notToml(source.file, error)] };
  }
}

/** Checks a document whole. */
export function checkWith<Value>(
  schema: z.ZodType<Value>,
  document: unknown,
  file: string,
): Outcome<Value> {
  const result = schema.safeParse(document);
  if (result.success) return { kind: "good", value: result.data };
  const mistakes = result.error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) =>
          unknownKey({ file, table: issue.path }, key, issue.message.split(" ")),
        )
      : [mistake(file, issue.path, issue.message)],
  );
  return { kind: "mistaken", mistakes };
}

/** Keys that others can read are no longer keys. */
export function exposedFile(file: string): ConfigError {
  return mistake(
    file,
    [],
    `holds keys, so only its owner may read and write it: chmod 600 ${file}`,
  );
}

/** A table with these keys and no others. */
export function table<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(" ");
  return z.strictObject(shape, {
    // For unknown keys the message carries the known ones to `parseWith`, which words it.
    error: (issue) => {
      if (issue.code === "unrecognized_keys") return known;
      return issue.input === undefined
        ? "missing, expected a table"
        : `expected a table, got ${describe(issue.input)}`;
    },
  });
}

/** What `chosen` chooses from, for the reference: the key that decides, and the schema for each of its values. */
export interface Alternatives {
  readonly key: string;
  readonly schemas: ReadonlyMap<string, z.ZodType>;
}

/** The schema that fits a value is chosen by looking at it: the length of a key by its suite. */
export function chosen<Value>(
  choose: (raw: Readonly<Record<string, unknown>>) => z.ZodType<Value>,
  alternatives: Alternatives,
) {
  const choice = z.unknown().transform((raw, context): Value => {
    const isTable = typeof raw === "object" && raw !== null && !Array.isArray(raw);
    const result = choose(isTable ? (raw as Record<string, unknown>) : {}).safeParse(raw);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      const { path, message } = issue;
      const unknown = issue.code === "unrecognized_keys";
      const kind = unknown ? { code: issue.code, keys: issue.keys } : { code: "custom" as const };
      context.addIssue({ ...kind, path, message });
    }
    return z.NEVER;
  });
  return choice.meta({ alternatives });
}

/** A list whose elements all obey `element`; refused when it has fewer than `least`. */
export function list<Element extends z.ZodType>(element: Element, expected: string, least = 0) {
  const wrong = (input: unknown) =>
    input === undefined
      ? `missing, expected ${expected}`
      : `expected ${expected}, got ${describe(input)}`;
  return z
    .array(element, { error: (issue) => wrong(issue.input) })
    .min(least, { error: `expected ${expected}, got an empty list` })
    .meta({ expected });
}

/** One value, read by `read` and named by `expected` in messages. */
export function field<Value>(expected: string, read: Read<Value>, show = describe) {
  const value = z.unknown().transform((raw, context): Value => {
    const { value, detail } = attempt(read, raw);
    if (value !== undefined) return value;
    const message =
      raw === undefined
        ? `missing, expected ${expected}`
        : `expected ${expected}, got ${show(raw)}${detail}`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
  return value.meta({ expected });
}

/** Like `field`, where a wrong value may be a secret in the wrong place: it is never shown. */
export function secretField<Value>(expected: string, read: Read<Value>) {
  return field(expected, read, describeSecret);
}

export const bool = field("true or false", (raw) => (typeof raw === "boolean" ? raw : undefined));

/** Seconds in the file, milliseconds inside; a default is given by `prefault`, as the file would have it. */
export function seconds(most: number) {
  return integer(0, most, "seconds").transform((value) => value * 1_000);
}

export function integer(least: number, most: number, what = "a number") {
  return field(`${what} from ${least} to ${most}`, (raw) => readInteger(raw, least, most));
}

export function readInteger(raw: unknown, least: number, most: number): number | undefined {
  const good = typeof raw === "number" && Number.isInteger(raw) && raw >= least && raw <= most;
  return good ? raw : undefined;
}

/** One of a few words; a slip is answered with the word meant. */
export function word<const Word extends string>(words: readonly Word[], show = describe) {
  const expected = words.map((each) => `"${each}"`).join(" or ");
  const meant = (raw: unknown) => {
    const near = typeof raw === "string" ? nearest(raw, words) : undefined;
    return near === undefined ? show(raw) : `${show(raw)}; did you mean "${near}"?`;
  };
  return field(expected, (raw) => words.find((each) => each === raw), meant);
}

/** An IPv4 address a host can have: not 0/8, 127/8, multicast or broadcast. */
export const hostIpv4 = field(
  "an IPv4 address such as 203.0.113.1",
  (raw): Ipv4Address | undefined => {
    if (typeof raw !== "string") return undefined;
    const address = parseIpv4(raw);
    const [first = 0] = ipv4Octets(address);
    return first === 0 || first === 127 || first >= 224 ? undefined : address;
  },
);

export const linkLocal = field("a link-local address (fe80::/10) such as fe80::1", (raw) =>
  readIpv6(raw, isLinkLocal),
);

export const hostIpv6 = field("an IPv6 address such as 2001:db8::1", (raw) =>
  readIpv6(raw, (address) => !isMulticast(address) && !isLinkLocal(address)),
);

export const prefix = field(
  `an IPv6 prefix of /${SHORTEST_PREFIX} or longer such as 2001:db8:a::/56`,
  (raw): Ipv6Prefix | undefined => {
    if (typeof raw !== "string") return undefined;
    const parsed = parseIpv6Prefix(raw);
    const special = isMulticast(parsed.address) || isLinkLocal(parsed.address);
    return parsed.length < SHORTEST_PREFIX || special ? undefined : parsed;
  },
);

export const prefixes = list(prefix, "a list of IPv6 prefixes", 1).transform(
  (all) => all as [Ipv6Prefix, ...Ipv6Prefix[]],
);

export const interfaceName = field(
  `an interface name of at most ${MOST_INTERFACE_NAME} letters, digits, ".", "_" and "-"`,
  (raw) => (typeof raw === "string" && isInterfaceName(raw) ? raw : undefined),
);

/** Whether an interface of ours can have this name. */
export function isInterfaceName(text: string): boolean {
  return text.length <= MOST_INTERFACE_NAME && INTERFACE_NAME.test(text);
}

export const interfacePrefix = field(
  `1 to ${MOST_INTERFACE_PREFIX} letters, digits, ".", "_" and "-"`,
  (raw) =>
    typeof raw === "string" && raw.length <= MOST_INTERFACE_PREFIX && INTERFACE_NAME.test(raw)
      ? raw
      : undefined,
);

export const homeName = field(
  'a name of 1 to 64 letters, digits, "-" and "_"',
  (raw): TunnelName | undefined =>
    typeof raw === "string" && HOME_NAME.test(raw) ? (raw as TunnelName) : undefined,
);

export const absolutePath = field("an absolute path", (raw) =>
  typeof raw === "string" && raw.startsWith("/") && !raw.includes("\0") ? raw : undefined,
);

export const socketPath = field(`an absolute path of at most ${MOST_SOCKET_PATH} octets`, (raw) =>
  typeof raw === "string" && isSocketPath(raw) ? raw : undefined,
);

/** Whether a Unix socket can have this path. */
export function isSocketPath(text: string): boolean {
  const short = new TextEncoder().encode(text).length <= MOST_SOCKET_PATH;
  return text.startsWith("/") && !text.includes("\0") && short;
}

export const mtu = integer(SMALLEST_MTU, LARGEST_MTU, "an MTU");
export const encapsulation = word(["udp", "esp"]);

/** `auto`: the kernel's where it works. */
export const DATA_PLANES = ["auto", "kernel", "userspace"] as const;
export type DataPlaneSetting = (typeof DATA_PLANES)[number];
export const dataPlane = word(DATA_PLANES);

export const logTable = table({
  level: word(LOG_LEVELS).default("info").meta({
    description:
      "The least serious lines that are written. `info` has changes of state, `debug` each message.",
    example: '"info"',
  }),
  format: word(LOG_FORMATS).default("auto").meta({
    description:
      "How lines look: for people, or one JSON object each. `auto`: for people on a terminal, else JSON.",
    example: '"json"',
  }),
})
  .prefault({})
  .meta({ description: "What the daemon writes to standard error, where the journal finds it." });

/** The first of the addresses of a prefix that is not the subnet-router anycast address. */
export function firstHost(prefix: Ipv6Prefix): Ipv6Address {
  return prefix.length === 128 ? prefix.address : lastBitSet(prefix.address);
}

/** Whether two prefixes have an address in common. */
export function overlap(a: Ipv6Prefix, b: Ipv6Prefix): boolean {
  const [wide, narrow] = a.length <= b.length ? [a, b] : [b, a];
  return isInPrefix(narrow.address, wide);
}

function lastBitSet(address: Ipv6Address): Ipv6Address {
  const octets = ipv6Octets(address);
  octets[15] = (octets[15] ?? 0) | 1;
  return formatIpv6(octets);
}

function readIpv6(raw: unknown, fits: (address: Ipv6Address) => boolean): Ipv6Address | undefined {
  if (typeof raw !== "string") return undefined;
  const address = parseIpv6(raw);
  return fits(address) ? address : undefined;
}

/** What `read` makes of a value; a parser's own reason is told when it says more than "no". */
function attempt<Value>(read: Read<Value>, raw: unknown): { value?: Value; detail: string } {
  try {
    const value = read(raw);
    return value === undefined ? { detail: "" } : { value, detail: "" };
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return {
      detail: error.message.includes("bits are set") ? ": bits are set beyond its length" : "",
    };
  }
}

/**
 * Where two prefixes of a list have addresses in common: the later one's place and the earlier one's. Sorted by
 * address, a prefix can only lie in those that are still open before it, so that 10,000 homes take no time.
 */
export function* overlaps<Entry extends { readonly prefix: Ipv6Prefix }>(
  entries: readonly Entry[],
): Generator<{ readonly entry: Entry; readonly other: Entry }> {
  const sorted = entries
    .map((entry, place) => ({ entry, place, start: hexOf(entry.prefix.address) }))
    .sort(
      (a, b) =>
        compare(a.start, b.start) ||
        a.entry.prefix.length - b.entry.prefix.length ||
        a.place - b.place,
    );
  let open: (typeof sorted)[number] | undefined;
  for (const each of sorted) {
    if (open !== undefined && overlap(open.entry.prefix, each.entry.prefix)) {
      const [first, second] = open.place < each.place ? [open, each] : [each, open];
      yield { entry: second.entry, other: first.entry };
    } else {
      open = each;
    }
  }
}

/** Text whose order is the addresses' order. */
function hexOf(address: Ipv6Address): string {
  return Array.from(ipv6Octets(address), (octet) => octet.toString(16).padStart(2, "0")).join("");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** smol-toml's message shows the line at fault, which may hold a key: only the place and the reason are told. */
function notToml(file: string, error: TomlError) {
  const reason = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "");
  const shown = LOOKS_SECRET.test(reason) ? "invalid value" : reason;
  return mistake(`${file}:${error.line}:${error.column}`, [], `not TOML: ${shown}`);
}
