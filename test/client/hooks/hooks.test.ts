import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { parseClientConfig } from "../../../client/config.ts";
import type { HomeView } from "../../../client/home-view.ts";
import { HomeEvents } from "../../../client/hooks/home-events.ts";
import { Hooks } from "../../../client/hooks/hooks.ts";
import {
  type ProgramOutcome,
  type ProgramRun,
  runProgramOnce,
} from "../../../common/adapters/program.ts";
import { parseIpv4, parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { openLog } from "../../../common/runtime/log.ts";
import { CLIENT_TEXT } from "../../support/config-text.ts";
import { nodeCommand } from "../../support/node-command.ts";
import { at } from "../../support/timeline.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const HERE = parseIpv4("192.0.2.7");
const THERE = parseIpv4("192.0.2.8");

const view = (state: "confirmed" | "announcing" | "no-address", address = HERE): HomeView => ({
  confirmed: state === "confirmed",
  address: state === "no-address" ? undefined : address,
  dns: [parseIpv6("2001:db8::53")],
  mtu: 1400,
  prefixes: [parseIpv6Prefix("2001:db8:a::/56"), parseIpv6Prefix("2001:db8:b::/56")],
  confirmedInMs: 12.5,
});

describe("hooks hear", () => {
  const heard = (...seen: [at: number, view: HomeView][]) => {
    const events = new HomeEvents();
    return seen.flatMap(([time, each]) =>
      events.see(each, at(time)).map(({ kind, address, previous }) => [kind, address, previous]),
    );
  };
  const up = view("confirmed");

  it("up when the server confirms for the first time, once", () => {
    expect(heard([0, view("announcing")], [100, up], [1_100, up])).toEqual([
      ["up", HERE, undefined],
    ]);
  });

  it("nothing of a tunnel that was never up", () => {
    expect(heard([0, view("no-address")], [60_000, view("announcing")])).toEqual([]);
  });

  it("a move, and no down, when another address is confirmed in time", () => {
    const moving: [number, HomeView][] = [
      [1_000, view("no-address")],
      [2_000, view("announcing", THERE)],
      [5_900, view("confirmed", THERE)],
    ];
    expect(heard([0, up], ...moving)).toEqual([
      ["up", HERE, undefined],
      ["move", THERE, HERE],
    ]);
  });

  test.each(["no-address", "announcing"] as const)("down once, after 5 s of %s", (state) => {
    const down = view(state);
    expect(heard([0, up], [1_000, down], [5_999, down])).toHaveLength(1);
    expect(heard([0, up], [1_000, down], [6_000, down], [9_000, down])).toEqual([
      ["up", HERE, undefined],
      ["down", HERE, undefined],
    ]);
  });

  it("up and then a move from who comes back elsewhere", () => {
    const away: [number, HomeView][] = [
      [1_000, view("no-address")],
      [8_000, view("no-address")],
    ];
    expect(heard([0, up], ...away, [9_000, view("confirmed", THERE)]).slice(2)).toEqual([
      ["up", THERE, HERE],
      ["move", THERE, HERE],
    ]);
    expect(heard([0, up], ...away, [9_000, up]).slice(2)).toEqual([["up", HERE, undefined]]);
  });
});

const eventOf = ({ environment }: ProgramRun) => {
  const { HOMETUN_EVENT } = environment ?? {};
  return HOMETUN_EVENT;
};

const GOOD: ProgramOutcome = { status: 0, timedOut: false, stdout: "", stderr: "" };

describe("hooks", () => {
  const setUp = (outcome: ProgramOutcome | Error = GOOD) => {
    const runs: ProgramRun[] = [];
    const lines: string[] = [];
    let finish: (() => void)[] = [];
    const clock = new VirtualClock();
    const hooks = new Hooks({
      config: {
        commands: { up: ["/bin/up", "a b"], down: ["/bin/down"], move: undefined },
        timeoutMs: 5_000,
      },
      interfaceName: "ht0",
      server: parseIpv4("203.0.113.1"),
      clock,
      run: async (run) => {
        runs.push(run);
        await new Promise<void>((resolve) => finish.push(resolve));
        if (outcome instanceof Error) throw outcome;
        return outcome;
      },
      log: openLog(
        { level: "debug", format: "json" },
        { stream: { write: (line) => lines.push(line) } },
      ),
    });
    const finishAll = async () => {
      for (let turn = 0; turn < 50; turn++) {
        for (const end of finish) end();
        finish = [];
        await Promise.resolve();
      }
    };
    const goDown = () => {
      hooks.follow(view("no-address"));
      clock.advanceTo(clock.now() + 5_000);
      hooks.follow(view("no-address"));
    };
    return { hooks, runs, lines, clock, finishAll, goDown };
  };

  it("are told everything in their environment, and nothing through a shell", () => {
    const { hooks, runs } = setUp();
    hooks.follow(view("confirmed"));
    expect(runs).toEqual([
      {
        command: ["/bin/up", "a b"],
        environment: {
          HOMETUN_EVENT: "up",
          HOMETUN_INTERFACE: "ht0",
          HOMETUN_SERVER: "203.0.113.1",
          HOMETUN_ADDRESS: "192.0.2.7",
          HOMETUN_PREVIOUS: "",
          HOMETUN_PREFIXES: "2001:db8:a::/56 2001:db8:b::/56",
          HOMETUN_DNS: "2001:db8::53",
          HOMETUN_MTU: "1400",
          HOMETUN_CONFIRMED_MS: "12.5",
        },
        timeoutMs: 5_000,
      },
    ]);
  });

  it("run one at a time, in order", async () => {
    const { hooks, runs, finishAll, goDown } = setUp();
    hooks.follow(view("confirmed"));
    goDown();
    hooks.follow(view("confirmed"));
    expect(runs).toHaveLength(1);
    await finishAll();
    expect(runs.map(eventOf)).toEqual(["up", "down", "up"]);
  });

  it("that never end make the oldest events forgotten, not the newest", async () => {
    const { hooks, runs, lines, finishAll, goDown } = setUp();
    for (let round = 0; round < 20; round++) {
      hooks.follow(view("confirmed"));
      goDown();
    }
    expect(lines.join()).toContain("slower than what happens");
    await finishAll();
    expect(runs).toHaveLength(17);
    expect(runs.slice(-1).map(eventOf)).toEqual(["down"]);
  });

  it("that were told of up are told of the end, before which nothing ends", async () => {
    const { hooks, runs, finishAll } = setUp();
    hooks.follow(view("confirmed"));
    let closed = false;
    const closing = hooks.close().then(() => {
      closed = true;
    });
    await Promise.resolve();
    expect(closed).toBe(false);
    await finishAll();
    await closing;
    expect(runs.map(eventOf)).toEqual(["up", "down"]);
  });

  it("hear nothing after the end, though the tunnel stands until they have ended", async () => {
    const { hooks, runs, finishAll } = setUp();
    hooks.follow(view("confirmed"));
    const closing = hooks.close();
    hooks.follow(view("confirmed"));
    await finishAll();
    await closing;
    expect(runs.map(eventOf)).toEqual(["up", "down"]);
  });

  it("that never end are not waited for for ever", async () => {
    const { hooks, clock, lines } = setUp();
    hooks.follow(view("confirmed"));
    const closing = hooks.close();
    clock.advanceTo(5_000);
    await closing;
    expect(lines.join()).toContain("not waiting any longer");
    expect(clock.armed).toBe(0);
  });

  test.each([
    { name: "fails", outcome: { ...GOOD, status: 3, stderr: "no luck\n" }, said: "hook failed" },
    {
      name: "takes too long",
      outcome: { ...GOOD, status: undefined, timedOut: true },
      said: "hook took too long",
    },
    { name: "cannot be run", outcome: new Error("ENOENT"), said: "hook cannot be run" },
  ])("that $name are told in the log, and the next one runs", async ({ outcome, said }) => {
    const { hooks, runs, lines, finishAll, goDown } = setUp(outcome);
    hooks.follow(view("confirmed"));
    goDown();
    await finishAll();
    expect(lines.join()).toContain(said);
    expect(runs).toHaveLength(2);
  });
});

describe("a program", () => {
  it("gets its arguments as they are, and no environment but what it is given", async () => {
    const { status, stdout } = await runProgramOnce({
      command: [
        "/bin/sh",
        "-c",
        'printf %s "$1"; env | cut -d= -f1 | sort | tr "\\n" " "',
        "sh",
        "$HOME;`id`",
      ],
      environment: { HOMETUN_EVENT: "up" },
      timeoutMs: 10_000,
    });
    expect(status).toBe(0);
    expect(stdout).toBe("$HOME;`id`HOMETUN_EVENT PATH PWD ");
  });

  it("that takes too long is ended, and what it started", async () => {
    const { status, timedOut } = await runProgramOnce({
      command: ["/bin/sh", "-c", "sleep 60 & sleep 60"],
      timeoutMs: 100,
    });
    expect({ status, timedOut }).toEqual({ status: undefined, timedOut: true });
  });

  it("that is not there is a SystemError", async () => {
    const run = runProgramOnce({ command: ["/nonexistent"], timeoutMs: 1_000 });
    await expect(run).rejects.toMatchObject({ name: "SystemError", code: "ENOENT" });
  });
});

it("that no descriptors are left for a program is a SystemError, and ends nobody", async () => {
  const process = join(import.meta.dirname, "../../support/no-descriptors-process.ts");
  const { status, stdout } = await runProgramOnce({
    command: ["/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh", ...nodeCommand(process)],
    timeoutMs: 20_000,
  });
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: "SystemError: cannot run /bin/true: EMFILE",
  });
}, 30_000);

describe("hooks in the configuration", () => {
  const parse = (lines: string) =>
    parseClientConfig({ file: "client.toml", text: `${lines}\n${CLIENT_TEXT}`, exposed: false });

  it("are lists", () => {
    const outcome = parse('on-move = ["/usr/local/bin/ddns", "update"]\nhook-timeout = 5');
    expect.assert(outcome.kind === "good");
    expect(outcome.value.hooks).toEqual({
      commands: { up: undefined, down: undefined, move: ["/usr/local/bin/ddns", "update"] },
      timeoutMs: 5_000,
    });
  });

  test.each([
    'on-up = "/usr/local/bin/ddns update"',
    "on-up = []",
    'on-up = ["ddns"]',
    'on-up = ["/bin/true", 1]',
  ])("are not %j", (line) => {
    const outcome = parse(line);
    expect.assert(outcome.kind === "mistaken");
    expect(outcome.mistakes[0]?.message).toContain("on-up: expected a program's absolute path");
  });
});
