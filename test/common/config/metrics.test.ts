import { expect, it, test } from "vitest";
import { parseServerConfig } from "../../../server/config.ts";

const parse = (...lines: string[]) => {
  const text = ['address = "203.0.113.1"', ...lines].join("\n");
  return parseServerConfig({ file: "server.toml", text, exposed: false }, () => []);
};

const mistakesOf = (...lines: string[]) => {
  const outcome = parse(...lines);
  return outcome.kind === "good" ? [] : outcome.mistakes.map(({ message }) => message);
};

test.each([
  {
    text: "/run/hometun/metrics.sock",
    listen: { kind: "unix", path: "/run/hometun/metrics.sock" },
  },
  { text: "127.0.0.1:9436", listen: { kind: "tcp", host: "127.0.0.1", port: 9_436 } },
  { text: "127.8.9.10:1", listen: { kind: "tcp", host: "127.8.9.10", port: 1 } },
  { text: "[::1]:65535", listen: { kind: "tcp", host: "::1", port: 65_535 } },
  { text: "[0:0:0:0:0:0:0:1]:9436", listen: { kind: "tcp", host: "::1", port: 9_436 } },
])("metrics are served at $text", ({ text, listen }) => {
  expect(parse(`metrics = "${text}"`)).toMatchObject({ kind: "good", value: { metrics: listen } });
});

it("metrics are served nowhere by default", () => {
  expect(parse()).toMatchObject({ kind: "good", value: { metrics: undefined } });
});

test.each([
  '""',
  '"metrics.sock"',
  '"127.0.0.1"',
  '"127.0.0.1:0"',
  '"127.0.0.1:65536"',
  '"127.0.0.1:09436"',
  '"127.0.0.256:9436"',
  '"localhost:9436"',
  '"::1:9436"',
  '"[::1]"',
  '"[fe80::1%eth0]:9436"',
  `"/${"x".repeat(108)}"`,
  "9436",
  "true",
])("metrics = %s is refused", (value) => {
  const [message, ...others] = mistakesOf(`metrics = ${value}`);
  expect(message).toMatch(
    /^server.toml: metrics: expected a socket's absolute path, or an address/,
  );
  expect(others).toEqual([]);
});

test.each(["192.0.2.1:9436", "0.0.0.0:9436", "[::]:9436", "[2001:db8::1]:9436"])(
  "metrics at %s, which others can reach, must be allowed",
  (text) => {
    expect(mistakesOf(`metrics = "${text}"`)).toEqual([
      "server.toml: metrics: expected a socket or a loopback address; to be reached from elsewhere, set allow-remote-metrics = true",
    ]);
    expect(mistakesOf(`metrics = "${text}"`, "allow-remote-metrics = true")).toEqual([]);
  },
);
