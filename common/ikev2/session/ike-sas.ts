/**
 * The IKE SAs of a session: the one in use, the one that is to follow it, those that were replaced and are not
 * deleted yet. Each has its own keys, message ids and request window (`ike-sa.ts`).
 */

import { type Instant, later } from "../../time.ts";
import type { IkeSuite } from "../algorithms.ts";
import { IkeSa } from "../ike-sa.ts";
import type { IkeKeys } from "../keys.ts";
import type { SessionEffect, SessionPorts, SessionSettings } from "../session-types.ts";
import {
  formatIkeSpi,
  IKE_SPI_LENGTH,
  type IkeHeader,
  type IkeSpi,
  ZERO_SPI,
} from "../wire/header.ts";
import { REPLACED_MS, type SaRecord } from "./state.ts";

/** What an IKE SA is made of. */
export interface IkeSaParts {
  readonly isInitiator: boolean;
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
  readonly firstMessageIds: { readonly ours: number; readonly peers: number };
  readonly fragmentation: boolean;
}

export class IkeSas {
  readonly #settings: SessionSettings;
  readonly #ports: SessionPorts;
  readonly #emit: (effect: SessionEffect) => void;
  #records: SaRecord[] = [];

  constructor(
    settings: SessionSettings,
    ports: SessionPorts,
    emit: (effect: SessionEffect) => void,
  ) {
    this.#settings = settings;
    this.#ports = ports;
    this.#emit = emit;
  }

  get all(): readonly SaRecord[] {
    return this.#records;
  }

  /** The one that requests go on. */
  get current(): SaRecord | undefined {
    return this.#records.find((record) => record.state === "current");
  }

  /** The one a message is for. */
  find({ initiatorSpi, responderSpi }: IkeHeader): SaRecord | undefined {
    return this.#records.find(
      ({ sa }) => sa.initiatorSpi === initiatorSpi && sa.responderSpi === responderSpi,
    );
  }

  includes(record: SaRecord): boolean {
    return this.#records.includes(record);
  }

  add(parts: IkeSaParts, state: SaRecord["state"], now: Instant): SaRecord {
    const { fragmentLimit, times, revealKeys } = this.#settings;
    const sa = new IkeSa({ ...parts, fragmentLimit, times, random: this.#ports.random });
    const record: SaRecord = {
      sa,
      bornAt: now,
      state,
      exchange: undefined,
      isConfirmed: false,
      overdueAt: undefined,
      rival: undefined,
    };
    this.#records.push(record);
    if (revealKeys) {
      const { initiatorSpi, responderSpi, suite, keys } = parts;
      this.#emit({ kind: "keys", initiatorSpi, responderSpi, suite, keys });
    }
    return record;
  }

  /** From here on `next` is the IKE SA; the Child SAs are its own. */
  succeed(old: SaRecord, next: SaRecord, now: Instant): void {
    old.state = "replaced";
    old.overdueAt = later(now, REPLACED_MS);
    next.state = "current";
    this.#emit({ kind: "ike-rekeyed", suite: next.sa.suite });
  }

  forget(record: SaRecord): void {
    this.#records = this.#records.filter((one) => one !== record);
    this.#emit({ kind: "unlisten", spi: record.sa.localSpi });
  }

  forgetAll(): void {
    for (const record of [...this.#records]) this.forget(record);
  }

  newSpi(): IkeSpi {
    const spi = formatIkeSpi(this.#ports.random(IKE_SPI_LENGTH));
    return spi === ZERO_SPI ? this.newSpi() : spi;
  }
}
