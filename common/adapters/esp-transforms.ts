/** Chooses what encrypts: OpenSSL in place where this Node lets us reach it, node:crypto everywhere else. */

import { randomBytes } from "node:crypto";
import { openNodeTransform } from "../esp/node-transform.ts";
import type { OpenTransform } from "../esp/transform.ts";
import { evpAvailable, openEvpTransform } from "./linux/evp-transform.ts";
import type { Slab } from "./linux/slab.ts";

export interface EspTransforms {
  readonly open: OpenTransform<Slab>;
  /** For people. */
  readonly name: string;
}

/** The fastest transforms that work here. */
export function espTransforms(): EspTransforms {
  const version = `OpenSSL ${process.versions.openssl}`;
  if (evpAvailable()) return { open: openEvpTransform, name: `${version}, in place` };
  return { open: openNodeTransform(randomBytes), name: `${version}, through node:crypto` };
}
