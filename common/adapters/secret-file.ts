/** Shared and private keys, in files that nobody else can read. */

import { createPrivateKey, type KeyObject } from "node:crypto";
import { exposedFile } from "../config/schema.ts";
import { ConfigError } from "../errors.ts";
import { readConfigFile } from "./config-file.ts";

/** Shorter ones can be guessed: RFC 7296 section 2.15 wants as many random octets as the PRF has. */
const SHORTEST_SHARED_KEY = 16; // octets

/** The first line of a file, as octets. Throws `ConfigError`. */
export function readSharedKey(file: string): Uint8Array {
  const [line = ""] = readSecret(file).split("\n");
  const key = new TextEncoder().encode(line.trim());
  if (key.length >= SHORTEST_SHARED_KEY) return key;
  throw new ConfigError(`expected a key of at least ${SHORTEST_SHARED_KEY} octets`, { file });
}

/** A private key in PEM, Ed25519 or ECDSA on P-256. Throws `ConfigError`. */
export function readPrivateKey(file: string): KeyObject {
  const text = readSecret(file);
  const key = parsed(text);
  const isKnown =
    key?.asymmetricKeyType === "ed25519" || key?.asymmetricKeyDetails?.namedCurve === "prime256v1";
  if (key !== undefined && isKnown) return key;
  throw new ConfigError("expected a private key in PEM, Ed25519 or P-256", { file });
}

/** Its error would tell what stands in the file. */
function parsed(text: string): KeyObject | undefined {
  try {
    return createPrivateKey(text);
  } catch {
    return undefined;
  }
}

function readSecret(file: string): string {
  const { text, exposed } = readConfigFile(file);
  if (exposed) throw exposedFile(file);
  return text;
}
