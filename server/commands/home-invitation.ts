/** The line that a home hands to `hometun init`: made, and shown. */

import { publicKeyText } from "../../common/adapters/key-files.ts";
import { readPrivateKey } from "../../common/adapters/secret-file.ts";
import {
  formatInvitation,
  type InvitationProof,
  parseInvitation,
} from "../../common/config/invitation.ts";
import type { ServerNegotiation } from "../../common/config/negotiated-keys.ts";
import { ConfigError, MalformedError } from "../../common/errors.ts";
import { formatIdentification } from "../../common/ikev2/identity.ts";
import { formatQrCode } from "../../common/text/qr.ts";
import type { ServerConfig } from "../config.ts";

export interface InvitedHome {
  readonly name: string;
  readonly identity: string;
  readonly prefixes: readonly string[];
  /** Undefined: the home has a key pair, and the line no secret. */
  readonly sharedKey: string | undefined;
}

/** What to say to the operator, and the line that is the home's. */
export interface HomeInvitation {
  readonly lines: readonly string[];
  readonly line: string;
}

/** Who the server is to homes that negotiate. Throws `ConfigError` when it is nobody. */
export function negotiationOf({ ikev2 }: ServerConfig, file: string): ServerNegotiation {
  if (ikev2 !== undefined) return ikev2;
  throw new ConfigError("missing: hometun-server init makes one", { file, key: "ikev2" });
}

/** Throws `ConfigError`. */
export function invitationOf(
  { name, identity, prefixes, sharedKey }: InvitedHome,
  { address, ikev2 }: { address: ServerConfig["address"]; ikev2: ServerNegotiation },
): HomeInvitation {
  const line = formatInvitation({
    server: address,
    serverIdentity: formatIdentification(ikev2.identity),
    identity,
    proof: proofInLine(sharedKey, ikev2.privateKeyFile),
  });
  if (sharedKey !== undefined) expectWhole(line);
  const has = `${name} has ${prefixes.join(", ")}.`;
  const said =
    sharedKey === undefined
      ? [`${has} At the home:`, "", `  hometun init '${line}'`]
      : [
          `${has} At the home, where the line is to be pasted; who reads it can be this home:`,
          "",
          "  hometun init -",
          `  ${line}`,
        ];
  return { line, lines: [...said, ""] };
}

/** Prints the lines, and on a terminal the QR code of the home's. */
export function printInvitation({ lines, line }: HomeInvitation, qr: boolean): void {
  process.stdout.write(`${lines.join("\n")}\n`);
  const { isTTY, columns } = process.stdout;
  if (qr && isTTY === true) process.stdout.write(formatQrCode(line, columns) ?? "");
}

function proofInLine(
  sharedKey: string | undefined,
  privateKeyFile: string | undefined,
): InvitationProof {
  if (sharedKey !== undefined) return { kind: "shared-key", sharedKey };
  if (privateKeyFile !== undefined) {
    return { kind: "public-key", publicKey: publicKeyText(readPrivateKey(privateKeyFile)) };
  }
  throw new ConfigError("missing, expected a path", { key: "ikev2.private-key-file" });
}

/** A key of the operator's own may have anything in it. */
function expectWhole(line: string): void {
  try {
    parseInvitation(line);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    const expectation = 'expected a key of 16 to 128 letters, digits, "-" and "_"';
    throw new ConfigError(`${expectation}: others do not fit in the home's line`);
  }
}
