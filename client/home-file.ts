/** The configuration of a home whose keys are negotiated: what `hometun init` writes. */

export interface HomeFilePlan {
  readonly server: string;
  readonly identity: string;
  readonly serverIdentity: string;
  readonly proof:
    | {
        readonly kind: "key-pair";
        readonly privateKeyFile: string;
        readonly serverPublicKey: string;
      }
    | { readonly kind: "shared-key"; readonly file: string };
  /** Interfaces of the LAN; none: hometun does not look after it. */
  readonly lan: readonly string[];
}

/** The text of a file, which says nothing secret: keys are in the files it names. */
export function homeFileText(plan: HomeFilePlan): string {
  const { server, identity, serverIdentity, proof, lan } = plan;
  return [
    "# The home's end: `hometun check-config` tells every mistake, man hometun.client.toml all settings.",
    `server = ${quoted(server)}`,
    ...(lan.length === 0 ? [] : [`lan = [${lan.map(quoted).join(", ")}]`]),
    "",
    "[keys]",
    'mode = "ikev2"',
    `identity = ${quoted(identity)}`,
    `server-identity = ${quoted(serverIdentity)}`,
    ...(proof.kind === "shared-key"
      ? [`psk-file = ${quoted(proof.file)}`]
      : [
          `private-key-file = ${quoted(proof.privateKeyFile)}`,
          `server-public-key = ${quoted(proof.serverPublicKey)}`,
        ]),
    "",
  ].join("\n");
}

/** JSON's strings are TOML's too. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
