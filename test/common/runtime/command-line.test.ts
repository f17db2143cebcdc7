import { getEventListeners } from "node:events";
import { CommanderError } from "commander";
import { describe, expect, it, test } from "vitest";
import { DaemonAbsentError } from "../../../common/adapters/control-socket.ts";
import { ConfigMistakes } from "../../../common/config/mistakes.ts";
import { refused } from "../../../common/control/protocol.ts";
import { ConfigError, MalformedError, SystemError } from "../../../common/errors.ts";
import { fitted, repeat, tell, valueOfReply } from "../../../common/runtime/command-line.ts";

const one = new ConfigError("expected a number", { file: "a.toml", key: "mtu" });
const other = new ConfigError("no such file", { file: "b.toml" });
const denied = new SystemError("open ht0", "EPERM", { hint: "run as root" });

test.each([
  {
    name: "one mistake",
    error: one,
    lines: ["hometun: a.toml: mtu: expected a number"],
    status: 2,
  },
  {
    name: "several mistakes",
    error: new ConfigMistakes([one, other]),
    lines: ["hometun: a.toml: mtu: expected a number", "hometun: b.toml: no such file"],
    status: 2,
  },
  {
    name: "a refusal of the system",
    error: denied,
    lines: ["hometun: cannot open ht0: EPERM (run as root)"],
    status: 1,
  },
  {
    name: "one inside a task",
    error: new Error("task tunnel failed", { cause: denied }),
    lines: ["hometun: cannot open ht0: EPERM (run as root)"],
    status: 1,
  },
  {
    name: "no daemon",
    error: new DaemonAbsentError("/run/x.sock"),
    lines: [
      "hometun: no daemon is running: nobody answers at /run/x.sock",
      "hometun: start it with hometun run",
    ],
    status: 3,
  },
  {
    name: "an answer that is none",
    error: new MalformedError("control", "not-json", "not JSON"),
    lines: ["hometun: the daemon's answer was not understood: control: not JSON"],
    status: 1,
  },
  {
    name: "a usage mistake",
    error: new CommanderError(1, "commander.unknownOption", "error: unknown option '--x'"),
    lines: ["hometun: unknown option '--x'", "hometun: see hometun --help"],
    status: 2,
  },
  {
    name: "help",
    error: new CommanderError(0, "commander.helpDisplayed", "(outputHelp)"),
    lines: [],
    status: 0,
  },
])("$name is told without a stack, status $status", ({ error, lines, status }) => {
  expect(tell(error, "hometun")).toEqual({ lines, status });
});

it("shows where an unexpected error came from", () => {
  const { lines, status } = tell(new TypeError("x is not a function"), "hometun");
  expect(lines.join("\n")).toMatch(/unexpected error.*TypeError: x is not a function\n {4}at /s);
  expect(status).toBe(1);
});

describe("what is shown anew each second", () => {
  const lines = (...texts: string[]) => `${texts.join("\n")}\n`;

  it("is shown whole where it fits", () => {
    const text = lines("a", "b", "c");
    expect(fitted(text, { rows: 4, columns: 80 })).toBe(text);
    expect(fitted(text, {})).toBe(text);
  });

  it("says how many lines it hides", () => {
    expect(fitted(lines("a", "b", "c", "d"), { rows: 4, columns: 80 })).toBe(
      lines("a", "b", "... 2 more lines"),
    );
  });

  it("counts the rows that a wide line takes, and no colours", () => {
    const wide = "x".repeat(25);
    const text = lines("a", wide, "c", "d");
    expect(fitted(text, { rows: 7, columns: 10 })).toBe(text);
    expect(fitted(text, { rows: 6, columns: 10 })).toBe(lines("a", wide, "... 2 more lines"));
    const coloured = lines("a", "\u001b[31mxxxxxxxxxx\u001b[0m", "c");
    expect(fitted(coloured, { rows: 4, columns: 10 })).toBe(coloured);
  });
});

it("what is repeated leaves nothing behind each time, and ends with the signal", async () => {
  const stop = new AbortController();
  const listeners: number[] = [];
  await repeat(
    async (first) => {
      listeners.push(getEventListeners(stop.signal, "abort").length);
      expect(first).toBe(listeners.length === 1);
      if (listeners.length === 20) stop.abort();
    },
    { pauseMs: 0, stop: stop.signal },
  );
  expect(listeners).toEqual(Array(20).fill(0));
});

describe("a refused request", () => {
  it("for a home that is not there is a mistake of the command line", () => {
    const ask = () => valueOfReply(refused("unknown-home", "no home is called bob"));
    expect(ask).toThrow(new ConfigError("no home is called bob"));
  });

  it("is a failure else", () => {
    const ask = () => valueOfReply(refused("unavailable", "the daemon is starting"));
    expect(ask).toThrow("the daemon is starting");
  });
});
