/**
 * Sockets that outlive this process: the service manager keeps a copy of each, sd_pid_notify_with_fds(3), and gives it to
 * the next process, sd_listen_fds_with_names(3). What the kernel does with such a socket it does meanwhile, too.
 */

import { libcCalls } from "./linux/libc.ts";
import type { ServiceManager } from "./systemd-notify.ts";

/** SD_LISTEN_FDS_START */
const FIRST = 3;
/** ioctl(2): commands that a daemon starts do not get the descriptor. */
const FIOCLEX = 0x5451;
/** More than any of our units lets be kept. */
const MOST = 16;
/** How long the manager is left in peace when it could not be told, in milliseconds. */
const RETRY_MS = 1_000;

export interface DescriptorStore {
  /** What an earlier process kept under this name; given once, and then the caller's to close. */
  take(name: string): number | undefined;
  /** From now on a copy outlives this process, as far as the unit allows it. */
  keep(name: string, descriptor: number): void;
  /** The copies of this name are not wanted any more. The manager closes them when it gets to it. */
  drop(name: string): void;
}

/** Where there is no manager nothing is kept. The variables are taken out of the environment, as they are for us alone. */
export function openDescriptorStore(
  manager: Pick<ServiceManager, "tell"> | undefined,
  environment = process.env,
): DescriptorStore {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = "" } = environment;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete environment[name];
  const given = new Map<string, number>();
  const count = Number(LISTEN_PID) === process.pid ? Math.min(Number(LISTEN_FDS ?? 0), MOST) : 0;
  const names = LISTEN_FDNAMES.split(":");
  for (let index = 0; index < count; index++) {
    const name = names[index] ?? "";
    const earlier = given.get(name);
    if (earlier !== undefined) libcCalls.close(earlier);
    libcCalls.ioctl(FIRST + index, FIOCLEX, 0);
    given.set(name, FIRST + index);
  }
  const tell = (assignments: readonly string[], descriptor?: number) => {
    if (manager === undefined || manager.tell(assignments, descriptor)) return;
    setTimeout(() => tell(assignments, descriptor), RETRY_MS).unref();
  };
  return {
    take(name) {
      const descriptor = given.get(name);
      given.delete(name);
      return descriptor;
    },
    // Without FDPOLL=0 the manager would drop a socket that has an error to tell.
    keep: (name, descriptor) => tell(["FDSTORE=1", `FDNAME=${name}`, "FDPOLL=0"], descriptor),
    drop: (name) => tell(["FDSTOREREMOVE=1", `FDNAME=${name}`]),
  };
}
