/**
 * The way to the peer: from which address and port to which, and whether IKE messages have the non-ESP marker there.
 * It moves to port 4500 when a NAT is found (RFC 7296 section 2.23), with our address, and with the home's.
 */

import { type Instant, later } from "../../time.ts";
import { IKE_PORT, UDP_ENCAPSULATION_PORT } from "../../tunnel/tunnel.ts";
import type { Path } from "../nat-detection.ts";
import type { MessageInput, SessionEffect } from "../session-types.ts";

export class PeerPath {
  readonly #emit: (effect: SessionEffect) => void;
  #path: Path;
  #encapsulated: boolean;
  /** When the NAT before us is reminded of us; RFC 3948 section 4: only who is behind one does it. */
  #keepaliveAt: Instant | undefined;

  constructor(
    at: { readonly path: Path; readonly encapsulated: boolean },
    emit: (effect: SessionEffect) => void,
  ) {
    this.#path = at.path;
    this.#encapsulated = at.encapsulated;
    this.#emit = emit;
  }

  get path(): Path {
    return this.#path;
  }

  get keepaliveAt(): Instant | undefined {
    return this.#keepaliveAt;
  }

  send(messages: readonly Uint8Array[]): void {
    const encapsulated = this.#encapsulated;
    for (const message of messages) {
      this.#emit({ kind: "send", path: this.#path, encapsulated, message });
    }
  }

  /** An answer goes where the request came from (section 2.11). */
  answer({ path, encapsulated }: MessageInput, messages: readonly Uint8Array[]): void {
    for (const message of messages) this.#emit({ kind: "send", path, encapsulated, message });
  }

  /** To the port where UDP encapsulation happens, section 2.23. */
  float(): void {
    const path = this.#path;
    if (path.remote.port !== IKE_PORT) return;
    this.#encapsulated = true;
    this.#path = {
      local: { ...path.local, port: UDP_ENCAPSULATION_PORT },
      remote: { ...path.remote, port: UDP_ENCAPSULATION_PORT },
    };
  }

  /** One of the addresses is another now. The ports of UDP encapsulation are of use only where it is used. */
  move(path: Partial<Path>): void {
    const { local, remote } = this.#path;
    const next = { ...this.#path, ...path };
    this.#path = this.#encapsulated
      ? next
      : {
          local: { address: next.local.address, port: local.port },
          remote: { address: next.remote.address, port: remote.port },
        };
  }

  /** A fresh, authentic request came from elsewhere: that is where the peer is (section 2.23). */
  follow({ path, encapsulated }: MessageInput): void {
    const before = this.#path;
    this.#encapsulated = encapsulated;
    this.#path = path;
    if (
      before.remote.address !== path.remote.address ||
      before.remote.port !== path.remote.port ||
      before.local.address !== path.local.address
    ) {
      this.#emit({ kind: "peer-moved", path });
    }
  }

  /** From now on a keepalive every so often. */
  keepAliveFrom(now: Instant, everyMs: number): void {
    this.#keepaliveAt = later(now, everyMs);
  }

  keepAlive(now: Instant, everyMs: number): void {
    this.#emit({ kind: "keepalive", path: this.#path });
    this.#keepaliveAt = later(now, everyMs);
  }
}
