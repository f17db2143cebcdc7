/**
 * Which change of address an advertisement tells of: so that the client's log and the server's name one event by one
 * name.
 *
 * It travels in the Nonce option of RFC 3971 section 5.3.2, which is "a random number selected by the sender" of six
 * octets or more. SEND puts it into solicitations and their answers only; in an unsolicited advertisement it has no
 * meaning there, and receivers that do not know it ignore it (RFC 4861 section 4.6). Linux does.
 *
 * It decides nothing. An advertisement without one, with several, or with one of another length is taken like any
 * other: the name is missing in the log, that is all.
 */

import type { NdOption } from "./option.ts";

/** RFC 3971 section 5.3.2. */
export const NONCE_OPTION = 14;
/** The least that the RFC allows, and all that fits the smallest option. */
export const CHANGE_LENGTH = 6; // octets

/** Twelve hexadecimal digits. */
export type ChangeId = string & { readonly __brand: "ChangeId" };

/** The name that `CHANGE_LENGTH` random octets make. Throws `RangeError` for another number. */
export function changeId(octets: Uint8Array): ChangeId {
  if (octets.length !== CHANGE_LENGTH) throw new RangeError(`${octets.length} octets`);
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("") as ChangeId;
}

export function changeOption(change: ChangeId): NdOption {
  const digits = change.match(/../g) ?? [];
  return {
    type: NONCE_OPTION,
    value: Uint8Array.from(digits, (each) => Number.parseInt(each, 16)),
  };
}

/** The change that options name; undefined when they name none, or not one. */
export function changeOf(options: readonly NdOption[]): ChangeId | undefined {
  const [option, ...others] = options.filter(({ type }) => type === NONCE_OPTION);
  const named = option?.value.length === CHANGE_LENGTH && others.length === 0;
  return named ? changeId(option.value) : undefined;
}
