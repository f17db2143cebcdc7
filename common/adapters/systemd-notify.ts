/** The line to the service manager, sd_notify(3): one datagram of assignments each time. */

import { UnixDatagramSender } from "./linux/unix-datagram.ts";

/** How a daemon reaches the service manager that started it. */
export interface ServiceManager {
  /** Milliseconds: it ends us unless it hears `WATCHDOG=1` so often. Undefined: it does not watch. */
  readonly watchdogMs: number | undefined;
  /**
   * Sends assignments such as `READY=1` in one datagram, and a copy of a descriptor if they are about one. False when it
   * could not be sent now, as while the manager executes itself anew: say it again later. Never throws.
   */
  tell(assignments: readonly string[], descriptor?: number): boolean;
  close(): void;
}

/**
 * Undefined when nobody wants to be told. The variables are taken out of the environment: commands that a daemon
 * starts must not speak for it.
 */
export function openServiceManager(environment = process.env): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_PID, WATCHDOG_USEC } = environment;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"]) delete environment[name];
  if (socket === undefined || !/^[/@]./.test(socket)) return undefined;
  const isForUs = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid;
  const watchdogMs = isForUs ? Number(WATCHDOG_USEC ?? 0) / 1_000 : 0;
  const sender = new UnixDatagramSender(socket);
  return {
    watchdogMs: watchdogMs > 0 ? watchdogMs : undefined,
    tell(assignments, descriptor) {
      try {
        return sender.send(new TextEncoder().encode(assignments.join("\n")), descriptor);
      } catch {
        return false;
      }
    },
    close: () => sender.close(),
  };
}

/** CLOCK_MONOTONIC in microseconds, as `MONOTONIC_USEC=` has it beside `RELOADING=1`. */
export function monotonicMicroseconds(): bigint {
  return process.hrtime.bigint() / 1_000n;
}
