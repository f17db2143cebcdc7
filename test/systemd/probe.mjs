// Run inside the sandbox of a unit, before its daemon: tries what a daemon that was taken over would try, and prints
// what it could do. `service.test.ts` says what it may.
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

function attempt(work) {
  try {
    return work() ?? "done";
  } catch (error) {
    return error.code ?? String(error);
  }
}

const open = (path, flags) => attempt(() => closeSync(openSync(path, flags)));
const status = Object.fromEntries(
  readFileSync("/proc/self/status", "utf8")
    .split("\n")
    .map((line) => line.split(/:\s*/)),
);

const found = {
  user: process.getuid(),
  capabilities: [status.CapInh, status.CapPrm, status.CapEff, status.CapBnd, status.CapAmb],
  newPrivileges: status.NoNewPrivs,
  seccomp: status.Seccomp,
  homes: attempt(() => readdirSync("/home").join()),
  homeFile: attempt(() => readFileSync("/home/alice/letter", "utf8")),
  rootFile: attempt(() => readFileSync("/root/letter", "utf8")),
  shadow: attempt(() => readFileSync("/etc/shadow", "utf8").length),
  writeEtc: attempt(() => writeFileSync("/etc/hometun/client.toml", "")),
  writeUsr: attempt(() => writeFileSync("/usr/lib/hometun/package.json", "")),
  writeState: attempt(() => writeFileSync(`${process.env.STATE_DIRECTORY}/probe`, "")),
  writeSysctl: attempt(() => writeFileSync("/proc/sys/kernel/domainname", "x")),
  writeForwarding: attempt(() => writeFileSync("/proc/sys/net/ipv4/ip_forward", "1")),
  writeAcceptRa: attempt(() => writeFileSync("/proc/sys/net/ipv6/conf/lo/accept_ra", "1")),
  null: open("/dev/null", "w"),
  tun: open("/dev/net/tun", "r+"),
  fuse: open("/dev/fuse", "r+"),
  mount: spawnSync("mount", ["-t", "tmpfs", "tmpfs", "/tmp"]).status,
  namespace: spawnSync("unshare", ["--user", "--net", "true"]).status,
  otherProcesses: readdirSync("/proc").filter((name) => name === "1").length,
};
process.stdout.write(`${JSON.stringify(found)}\n`);
