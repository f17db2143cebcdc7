/**
 * `npm run demo`: a home changes its IPv4 address three times while a ping and a download go on.
 *
 * This process only looks whether the machine can do it, then shuts the show (show.ts) into namespaces of its
 * own: processes, mounts and networks. When the show ends, or is killed, the kernel removes all it made.
 * `--brief` leaves less time to look at it, for tests; with `--manual-keys` the keys stand in the files, instead of
 * being negotiated by IKEv2.
 */

import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { enclose, findObstacle, isUnprivileged } from "./enclosure.ts";

const SHOW = resolve(import.meta.dirname, "show.ts");
const SHOW_CURSOR = "\r\u001b[K\u001b[?25h";
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

const obstacle = findObstacle();
if (obstacle !== undefined) {
  process.stderr.write(`demo: ${obstacle}\n`);
  process.exit(1);
}

const [command, ...args] = enclose([
  process.execPath,
  ...process.execArgv,
  SHOW,
  ...process.argv.slice(2),
  ...(isUnprivileged() ? ["--unprivileged"] : []),
]);
// Its standard input ends with this process: that is how the show learns that it was killed.
const show = spawn(command, args, {
  stdio: ["pipe", "inherit", "inherit"],
  cwd: resolve(import.meta.dirname, ".."),
});
for (const [signal, status] of Object.entries(SIGNALS)) {
  process.once(signal, () => {
    show.kill("SIGKILL");
    if (process.stdout.isTTY) process.stdout.write(SHOW_CURSOR);
    process.stderr.write("demo: interrupted; nothing is left behind\n");
    process.exit(status);
  });
}
show.once("error", (error) => {
  process.stderr.write(`demo: cannot start: ${error.message}\n`);
  process.exitCode = 1;
});
show.once("exit", (code) => {
  process.exitCode = code ?? 1;
});
