import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openDescriptorStore } from "../../../common/adapters/descriptor-store.ts";
import { isUdpSocketOf, openIpv4Socket } from "../../../common/adapters/linux/ipv4-socket.ts";
import { libcCalls } from "../../../common/adapters/linux/libc.ts";
import { openServiceManager } from "../../../common/adapters/systemd-notify.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import { eventually } from "../../support/namespace.ts";
import { NotifySocket } from "../../support/notify-socket.ts";

const LOOPBACK = parseIpv4("127.0.0.1");
const PORT = 47_531;
const PROCESS = resolve(import.meta.dirname, "../../support/descriptor-process.ts");

describe("a socket that outlives its process", () => {
  let directory: string;
  let fd: number;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hometun-descriptors-"));
    fd = openIpv4Socket({
      ...{ kind: "udp", address: LOOPBACK, port: PORT, operation: "open", hints: {} },
    });
  });

  afterAll(() => {
    libcCalls.close(fd);
    rmSync(directory, { recursive: true });
  });

  it("is given to the manager by name, and forgotten by name", async () => {
    const socket = new NotifySocket(join(directory, "notify"));
    const manager = openServiceManager({ NOTIFY_SOCKET: socket.address });
    const store = openDescriptorStore(manager, {});
    store.keep("port", fd);
    const copy = await eventually(async () => socket.kept.get("port"));
    expect(copy).not.toBe(fd);
    expect(isUdpSocketOf(copy, LOOPBACK, PORT)).toBe(true);
    expect(socket.heard).toEqual([["FDSTORE=1", "FDNAME=port", "FDPOLL=0"]]);
    store.drop("port");
    await eventually(async () => (socket.kept.size === 0 ? true : undefined));
    manager?.close();
    socket.close();
  });

  it("is kept later by a manager that cannot be told now", async () => {
    const told: (number | undefined)[] = [];
    const tell = (_: readonly string[], descriptor?: number) => told.push(descriptor) > 1;
    openDescriptorStore({ tell }, {}).keep("port", fd);
    await eventually(async () => (told.length === 2 ? true : undefined));
    expect(told).toEqual([fd, fd]);
  });

  function start(environment: string, name: string) {
    const command = `${environment} exec ${process.execPath} --import tsx ${PROCESS} ${name} ${PORT}`;
    const { stdout, stderr } = spawnSync("sh", ["-c", command], {
      stdio: ["ignore", "pipe", "pipe", fd],
      encoding: "utf8",
    });
    if (stdout === "") throw new Error(stderr);
    return JSON.parse(stdout);
  }

  it("is taken by the next process, once, and not by what that one starts", () => {
    const given = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=port";
    expect(start(given, "port")).toEqual({
      isTheSocket: true,
      isInherited: false,
      environment: [],
      again: false,
    });
  });

  it.each([
    ["under another name", "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other"],
    ["without a name", "LISTEN_PID=$$ LISTEN_FDS=1"],
    ["meant for another process", "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=port"],
    ["of no number", "LISTEN_PID=$$ LISTEN_FDS=all LISTEN_FDNAMES=port"],
    ["of nobody", ""],
  ])("is not found %s", (_, environment) => {
    expect(start(environment, "port")).toMatchObject({ isTheSocket: false, environment: [] });
  });

  it.each([
    ["a socket of another port", LOOPBACK, PORT + 1],
    ["a socket of another address", parseIpv4("127.0.0.2"), PORT],
    ["a socket of any address", undefined, PORT],
  ])("is told from %s", (_, address, port) => {
    expect(isUdpSocketOf(fd, address, port)).toBe(false);
  });

  it("is told from what is no UDP socket of IPv4", () => {
    expect(isUdpSocketOf(0, LOOPBACK, PORT)).toBe(false);
    const unix = libcCalls.socket(1, 2, 0);
    expect(isUdpSocketOf(unix, undefined, 0)).toBe(false);
    libcCalls.close(unix);
  });
});
