/** Configuration of the server and of a home whose keys are negotiated: what `init` and `home add` write. */

export interface ServerFilePlan {
  readonly address: string;
  readonly homes: string;
  readonly identity: string;
  readonly privateKeyFile: string;
}

export interface HomeFilePlan {
  readonly name: string;
  readonly prefixes: readonly string[];
  readonly identity: string;
  readonly proof:
    | { readonly kind: "public-key"; readonly publicKey: string }
    | { readonly kind: "shared-key"; readonly file: string };
}

/** The text of `server.toml`. */
export function serverFileText({
  address,
  homes,
  identity,
  privateKeyFile,
}: ServerFilePlan): string {
  return [
    "# `hometun-server check-config` tells every mistake, man hometun.server.toml all settings.",
    `address = ${quoted(address)}`,
    `homes = ${quoted(homes)}`,
    "",
    "[ikev2]",
    `identity = ${quoted(identity)}`,
    `private-key-file = ${quoted(privateKeyFile)}`,
    "",
  ].join("\n");
}

/** The text of a home's file. */
export function homeFileText({ name, prefixes, identity, proof }: HomeFilePlan): string {
  return [
    `name = ${quoted(name)}`,
    `prefixes = [${prefixes.map(quoted).join(", ")}]`,
    "",
    "[keys]",
    'mode = "ikev2"',
    `identity = ${quoted(identity)}`,
    proof.kind === "shared-key"
      ? `psk-file = ${quoted(proof.file)}`
      : `public-key = ${quoted(proof.publicKey)}`,
    "",
  ].join("\n");
}

/** JSON's strings are TOML's too. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
