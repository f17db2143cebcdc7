/** `on-up`, `on-down`, `on-move` and `hook-timeout` in `client.toml`. */

import { field, integer } from "../../common/config/schema.ts";
import type { HomeEvent } from "./home-events.ts";

const LONGEST_TIMEOUT = 600; // seconds

/** A program's absolute path, and its arguments. No shell looks at them. */
export type HookCommand = readonly [string, ...string[]];

export interface HooksConfig {
  readonly commands: Readonly<Record<HomeEvent["kind"], HookCommand | undefined>>;
  /** How long one may run. */
  readonly timeoutMs: number;
}

const command = field(
  'a program\'s absolute path and its arguments such as ["/usr/local/bin/ddns", "update"]',
  (raw): HookCommand | undefined => {
    if (!Array.isArray(raw)) return undefined;
    const [program, ...rest] = raw as unknown[];
    if (typeof program !== "string" || !program.startsWith("/")) return undefined;
    const texts = rest.filter((each) => typeof each === "string");
    const whole = [program, ...texts] as const;
    return texts.length === rest.length && !whole.join("").includes("\0") ? whole : undefined;
  },
);

/** For the table they stand in. */
export const hookFields = {
  "on-up": command.optional().meta({
    description: "Run when the server confirms the home, at first and after it was down.",
    example: '["/usr/local/bin/tunnel", "up"]',
  }),
  "on-down": command.optional().meta({
    description: "Run when the server has been away for 5 s, or the daemon stops.",
    example: '["/usr/local/bin/tunnel", "down"]',
  }),
  "on-move": command.optional().meta({
    description: "Run when the server confirms another IPv4 address.",
    example: '["/usr/local/bin/ddns", "update"]',
  }),
  "hook-timeout": integer(1, LONGEST_TIMEOUT, "seconds").default(30).meta({
    description: "After how many seconds such a program is ended.",
    example: "30",
  }),
};

export function hooksOf(fields: {
  readonly "on-up"?: HookCommand | undefined;
  readonly "on-down"?: HookCommand | undefined;
  readonly "on-move"?: HookCommand | undefined;
  readonly "hook-timeout": number;
}): HooksConfig {
  return {
    commands: { up: fields["on-up"], down: fields["on-down"], move: fields["on-move"] },
    timeoutMs: fields["hook-timeout"] * 1_000,
  };
}
