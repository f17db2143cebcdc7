/**
 * A strict reader of Prometheus' text format 0.0.4, written from its documentation ("Exposition formats") and not
 * from our writer: whatever the documentation does not allow throws.
 */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/;
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]Inf|NaN)$/;
const TYPES = new Set(["counter", "gauge", "histogram", "summary", "untyped"]);
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

export function parseExposition(text: string): Map<string, Family> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: { name: string; help: string; type: string; samples: Sample[] } | undefined;
  for (const line of text.split("\n").slice(0, -1)) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`);
    };
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name = "", rest = ""] = comment;
      if (NAME.exec(name)?.[0] !== name) fail("bad name");
      if (kind === "HELP") {
        if (families.has(name)) fail("a family in two places");
        current = { name, help: rest, type: "", samples: [] };
        families.set(name, current);
      } else {
        if (current?.name !== name || current.type !== "") fail("TYPE out of place");
        if (!TYPES.has(rest)) fail("unknown type");
        if (current !== undefined) current.type = rest;
      }
      continue;
    }
    if (current === undefined || current.type === "") throw new Error(`no family: ${line}`);
    const sample = parseSample(line);
    const suffixes = SUFFIXES[current.type] ?? [""];
    const { name } = current;
    if (!suffixes.some((suffix) => sample.name === name + suffix)) fail("of another family");
    const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(key)) fail("told twice");
    seen.add(key);
    current.samples.push(sample);
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

function parseSample(line: string): Sample {
  const name = NAME.exec(line)?.[0];
  if (name === undefined) throw new Error(`no name: ${line}`);
  let rest = line.slice(name.length);
  const labels: Record<string, string> = {};
  if (rest.startsWith("{")) {
    rest = rest.slice(1);
    for (;;) {
      const label = LABEL.exec(rest);
      if (label === null) throw new Error(`bad label: ${line}`);
      const [whole, key = "", value = ""] = label;
      if (key.startsWith("__") || key in labels) throw new Error(`bad label ${key}: ${line}`);
      labels[key] = value.replaceAll(/\\(.)/g, (_, each) => (each === "n" ? "\n" : each));
      rest = rest.slice(whole.length);
      if (rest.startsWith("}")) break;
      if (!rest.startsWith(",")) throw new Error(`labels do not end: ${line}`);
      rest = rest.slice(1);
    }
    rest = rest.slice(1);
  }
  if (!rest.startsWith(" ") || !NUMBER.test(rest.slice(1))) throw new Error(`bad value: ${line}`);
  const value = rest.slice(1).replace("Inf", "Infinity");
  return { name, labels, value: Number(value) };
}

/** What "Metric and label naming" asks for, and what histograms promise. */
function checkFamily({ name, type, samples, help }: Family): void {
  const fail = (why: string): never => {
    throw new Error(`${name}: ${why}`);
  };
  if (type === "") fail("has no type");
  if (help.trim() === "") fail("has no help");
  if ((type === "counter") !== name.endsWith("_total")) fail(`a ${type} is not called so`);
  if (/_(ms|milliseconds|octets|kb|bits)(_|$)/.test(name)) fail("not a base unit");
  if (type === "counter" && samples.some(({ value }) => !(value >= 0))) fail("below zero");
  if (type !== "histogram") return;
  const buckets = samples.filter((sample) => sample.name.endsWith("_bucket"));
  const bounds = buckets.map(({ labels: { le } }) => Number(le?.replace("Inf", "Infinity")));
  if (bounds.at(-1) !== Number.POSITIVE_INFINITY) fail("has no last bucket");
  const rises = (values: number[]) =>
    values.every((each, i) => i === 0 || each >= (values[i - 1] ?? 0));
  if (!rises(bounds) || !rises(buckets.map(({ value }) => value))) fail("does not rise");
  const count = samples.find((sample) => sample.name === `${name}_count`)?.value;
  if (count !== buckets.at(-1)?.value) fail("counts differ");
}
