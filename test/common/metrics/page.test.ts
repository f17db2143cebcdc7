import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { Histogram } from "../../../common/metrics/histogram.ts";
import { label, MetricsPage } from "../../../common/metrics/page.ts";
import { parseExposition } from "../../support/exposition.ts";

const textOf = (page: MetricsPage) => [...page.text()].join("");

it("tells each metric's samples together, in whatever order they were measured", () => {
  const page = new MetricsPage();
  const sent = page.metric("sent_bytes_total", "counter", "Octets sent");
  const up = page.metric("up", "gauge", "Whether the home is there");
  for (const home of ["alice", "bob"]) {
    sent.add(1_500, label("home", home));
    up.add(1, label("home", home), label("state", "confirmed"));
  }
  // The format's own example has this shape, "Exposition formats", text format example.
  expect(textOf(page)).toBe(`\
# HELP sent_bytes_total Octets sent
# TYPE sent_bytes_total counter
sent_bytes_total{home="alice"} 1500
sent_bytes_total{home="bob"} 1500
# HELP up Whether the home is there
# TYPE up gauge
up{home="alice",state="confirmed"} 1
up{home="bob",state="confirmed"} 1
`);
});

it("leaves out what is not known", () => {
  const page = new MetricsPage();
  page.single("age_seconds", "gauge", "An age", undefined);
  expect(textOf(page)).not.toMatch(/^age/m);
});

it("tells a histogram by rising counts up to infinity", () => {
  const histogram = new Histogram([0.1, 0.5]);
  for (const value of [0.05, 0.1, 0.2, 7]) histogram.observe(value);
  const page = new MetricsPage();
  page.histogram("move_seconds", "Moves", histogram);
  expect(textOf(page)).toBe(`\
# HELP move_seconds Moves
# TYPE move_seconds histogram
move_seconds_bucket{le="0.1"} 2
move_seconds_bucket{le="0.5"} 3
move_seconds_bucket{le="+Inf"} 4
move_seconds_sum 7.35
move_seconds_count 4
`);
});

test.each([
  { value: Number.NaN, text: "NaN" },
  { value: Number.POSITIVE_INFINITY, text: "+Inf" },
  { value: Number.NEGATIVE_INFINITY, text: "-Inf" },
  { value: 1e21, text: "1e+21" },
  { value: 0.000_000_1, text: "1e-7" },
])("writes $text as Go reads it", ({ value, text }) => {
  const page = new MetricsPage();
  page.single("x", "gauge", "X", value);
  expect(textOf(page)).toContain(`x ${text}\n`);
});

it("gives back any label value and any number to a reader of the format", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.double(), (name, value) => {
      const page = new MetricsPage();
      page.metric("x", "gauge", "X").add(value, label("home", name));
      const [sample] = parseExposition(textOf(page)).get("x")?.samples ?? [];
      const { home } = sample?.labels ?? {};
      expect(home).toBe(name);
      expect(sample?.value === value || (Number.isNaN(value) && Number.isNaN(sample?.value))).toBe(
        true,
      );
    }),
  );
});

describe("the reader that the tests judge by", () => {
  test.each([
    { name: "a line that does not end", text: "# HELP a b\n# TYPE a gauge\na 1" },
    { name: "a sample of no family", text: "a 1\n" },
    { name: "a family in two places", text: "# HELP a b\n# TYPE a gauge\n# HELP a b\n" },
    { name: "a sample told twice", text: "# HELP a b\n# TYPE a gauge\na 1\na 1\n" },
    { name: "a bad number", text: "# HELP a b\n# TYPE a gauge\na 0x1\n" },
    { name: "an open label", text: '# HELP a b\n# TYPE a gauge\na{b="c} 1\n' },
    { name: "a counter not called so", text: "# HELP a b\n# TYPE a counter\na 1\n" },
    {
      name: "a histogram without infinity",
      text: '# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
    },
  ])("refuses $name", ({ text }) => {
    expect(() => parseExposition(text)).toThrow();
  });
});
