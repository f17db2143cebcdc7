/**
 * What the schemas of the configuration say of themselves: their tables, and of each key what it may be, its default,
 * what it is for. Schemas are walked, never run; where one is chosen by another key, all of them are.
 */

import { z } from "zod";
import type { Alternatives } from "../common/config/schema.ts";

/** A table of a file; the file's own has no name. */
export interface TableReference {
  /** `keys.outbound`; empty: the file's own. */
  readonly name: string;
  readonly description: string | undefined;
  /** Where it may stand at all: `keys.mode` is `manual`; empty: everywhere. */
  readonly when: Choices;
  /** What its keys depend on; empty: they are always the same. */
  readonly varying: Choices;
  readonly keys: readonly KeyReference[];
}

export interface KeyReference {
  readonly name: string;
  readonly description: string | undefined;
  /** What it may be and what it is by default; more than one where that depends on another key. */
  readonly variants: readonly Variant[];
}

export interface Variant {
  readonly expected: string;
  readonly presence: Presence;
  /** As TOML. Absent for tables, and where another key excludes it. */
  readonly example: string | undefined;
  /** When this holds; empty: always. */
  readonly when: Choices;
}

export type Presence =
  | { readonly kind: "required" }
  | { readonly kind: "optional" }
  | { readonly kind: "default"; readonly value: unknown };

/** Values of the keys that choose between schemas. */
export type Choices = ReadonlyMap<string, readonly string[]>;

/** The tables of a file, the file's own first, then as they are met. */
export function tablesOf(schema: z.ZodType): TableReference[] {
  const places: Place[] = [];
  walkTable(schema, { table: "", description: undefined, chosen: new Map() }, places);
  const names = [...new Set(places.map(({ table }) => table))];
  return names.map((name) => tableOf(places.filter(({ table }) => table === name)));
}

/** A table as it was met on one way through the alternatives. */
interface Place {
  readonly table: string;
  readonly description: string | undefined;
  readonly chosen: ReadonlyMap<string, string>;
  readonly shape: Readonly<Record<string, z.ZodType>>;
}

/** What `.meta` and common/config/schema.ts attach to a schema. */
interface About {
  readonly description?: string | undefined;
  readonly example?: string | undefined;
  readonly expected?: string | undefined;
  readonly alternatives?: Alternatives;
}

/** Everything that the layers of a schema say of one key. */
interface Layers {
  readonly description: string | undefined;
  readonly example: string | undefined;
  readonly expected: string | undefined;
  readonly presence: Presence;
  readonly alternatives: Alternatives | undefined;
  readonly shape: Readonly<Record<string, z.ZodType>> | undefined;
}

function walkTable(schema: z.ZodType, at: Omit<Place, "shape">, places: Place[]): void {
  const { alternatives, shape } = layersOf(schema);
  if (alternatives !== undefined) {
    const decided = at.chosen.get(alternatives.key);
    for (const [value, each] of alternatives.schemas) {
      if (decided !== undefined && decided !== value) continue;
      walkTable(
        each,
        { ...at, chosen: new Map([...at.chosen, [alternatives.key, value]]) },
        places,
      );
    }
  }
  if (shape === undefined) return;
  places.push({ ...at, shape });
  for (const [key, each] of Object.entries(shape)) {
    const { description, alternatives: inner, shape: table } = layersOf(each);
    if (inner === undefined && table === undefined) continue;
    walkTable(
      each,
      { ...at, table: at.table === "" ? key : `${at.table}.${key}`, description },
      places,
    );
  }
}

/** What stands around and inside a schema; outer layers speak first. */
function layersOf(schema: z.ZodType): Layers {
  const about: About = z.globalRegistry.get(schema) ?? {};
  const own: Layers = {
    description: about.description,
    example: about.example,
    expected: about.expected,
    presence: { kind: "required" },
    alternatives: about.alternatives,
    shape: undefined,
  };
  const { def } = (schema as unknown as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "object":
      return { ...own, shape: def.shape as Record<string, z.ZodType> };
    case "optional":
      return over({ ...own, presence: { kind: "optional" } }, layersOf(def.innerType as z.ZodType));
    case "default":
    case "prefault":
      return over(
        { ...own, presence: { kind: "default", value: def.defaultValue } },
        layersOf(def.innerType as z.ZodType),
      );
    case "pipe": {
      // A table that is transformed, or a value that is made a table of first.
      const sides = [layersOf(def.in as z.ZodType), layersOf(def.out as z.ZodType)] as const;
      return over(own, over(...sides));
    }
    default:
      return own;
  }
}

function over(outer: Layers, inner: Layers): Layers {
  return {
    description: outer.description ?? inner.description,
    example: outer.example ?? inner.example,
    expected: outer.expected ?? inner.expected,
    presence: outer.presence.kind === "required" ? inner.presence : outer.presence,
    alternatives: outer.alternatives ?? inner.alternatives,
    shape: outer.shape ?? inner.shape,
  };
}

/** One table, from the ways in which it was met. */
function tableOf(places: readonly Place[]): TableReference {
  const [first] = places;
  const all = choicesOf(places);
  const varying = only(all, (values) => values.length > 1);
  const keys = [...new Set(places.flatMap(({ shape }) => Object.keys(shape)))];
  return {
    name: first?.table ?? "",
    description: first?.description,
    when: only(all, (values) => values.length === 1),
    varying,
    keys: keys.map((key) => keyOf(key, places, varying)),
  };
}

function keyOf(name: string, places: readonly Place[], varying: Choices): KeyReference {
  const met = places.flatMap((place) => {
    const schema = place.shape[name];
    return schema === undefined ? [] : [{ ...place, layers: layersOf(schema) }];
  });
  const groups = groupBy(met, ({ layers }) =>
    JSON.stringify([expectationOf(layers), layers.presence]),
  );
  return {
    name,
    description: met.map(({ layers }) => layers.description).find((text) => text !== undefined),
    variants: groups.map(([sample, ...others]) => ({
      expected: expectationOf(sample.layers),
      presence: sample.layers.presence,
      example: sample.layers.example,
      when: narrower(choicesOf([sample, ...others]), varying),
    })),
  };
}

function expectationOf({ expected, shape, alternatives }: Layers): string {
  if (expected !== undefined) return expected;
  return shape === undefined && alternatives === undefined ? "" : "a table";
}

/** Values of each choosing key in some places. */
function choicesOf(places: readonly Pick<Place, "chosen">[]): Choices {
  const keys = new Set(places.flatMap(({ chosen }) => [...chosen.keys()]));
  const valuesOf = (key: string) => new Set(places.flatMap(({ chosen }) => chosen.get(key) ?? []));
  return new Map([...keys].map((key) => [key, [...valuesOf(key)]]));
}

function only(choices: Choices, keep: (values: readonly string[]) => boolean): Choices {
  return new Map([...choices].filter(([, values]) => keep(values)));
}

/** What is said less of than is possible. */
function narrower(choices: Choices, possible: Choices): Choices {
  const isNarrower = ([key, values]: [string, readonly string[]]) =>
    values.length < (possible.get(key)?.length ?? 0);
  return new Map([...choices].filter(isNarrower));
}

function groupBy<Item>(items: readonly Item[], of: (item: Item) => string): [Item, ...Item[]][] {
  const groups = new Map<string, [Item, ...Item[]]>();
  for (const item of items) {
    const group = groups.get(of(item));
    if (group === undefined) groups.set(of(item), [item]);
    else group.push(item);
  }
  return [...groups.values()];
}
