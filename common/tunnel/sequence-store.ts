/**
 * The port behind which sequence numbers and replay windows outlive the process, for keys that do. A sender must
 * not use a number twice under one key, a receiver not take one twice (RFC 4303 sections 3.3.3 and 3.4.3), and a
 * crash or power cut is no excuse. Implementation: `adapters/sequence-file.ts`.
 */

import type { SystemError } from "../errors.ts";
import type { ReplayWindow } from "../esp/replay-window.ts";
import type { SaKeys, SecurityAssociationKeys } from "./tunnel.ts";

/**
 * The numbers of one outbound SA: from `next` up to, not including, `limit` may be used now. None may be while the store
 * cannot write.
 */
export interface OutboundSequence {
  readonly next: number;
  readonly limit: number;
  /**
   * Reserves more numbers, counted from `next`; tells the new limit once it is durable. While it cannot be made so the
   * store tries again, and tells nothing.
   */
  extend(next: number, granted: (limit: number) => void): void;
  /** Gives back what was reserved from `next` on. Nothing may be sent afterwards. */
  release(next: number): void;
}

/** The replay window of one inbound SA. */
export interface InboundSequence {
  readonly window: ReplayWindow;
  /** Remembers the window beyond the end of this process; `flush` and `sync` beyond a power cut too. */
  record(): void;
}

export interface SequenceStore {
  /** What keeps it from being written, while something does. */
  readonly problem: SystemError | undefined;
  /** Throws what opening would, and changes nothing. */
  check(keys: SaKeys): void;
  /**
   * Throws `ConfigError` when the key was used up: manual AES-GCM keys are single-use, since one repeated number
   * lays them open (RFC 8221 section 5 forbids them altogether). Throws `SystemError` when that cannot be known.
   */
  openOutbound(keys: SecurityAssociationKeys): OutboundSequence;
  /** The window as it was when last recorded, or a new one. Throws `SystemError` when it is lost. */
  openInbound(keys: SecurityAssociationKeys): InboundSequence;
  /** Makes what was opened and recorded durable. Nothing may be sent with opened keys before it returns. */
  sync(): void;
  /** The same in the background, and what failed before again. To be called each second. */
  flush(): void;
  close(): void;
}
