/**
 * What can be chosen of negotiated keys, with the real daemons: certificates, suites, name servers; and ends that do
 * not know RFC 5739, which strongSwan's charon plays. Topology: test/support/tunnel-lab.ts.
 */

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { canUseNamespaces } from "../support/namespace.ts";
import { daemonsAreBuilt, FAR, SERVER, TunnelLab } from "../support/tunnel-lab.ts";
import { Charon, hasCharon } from "./ikev2/charon.ts";

const NAME_SERVER = "2001:db8:ffff::53";
/** What charon gives, and takes. */
const SINGLE = "2001:db8:c::100";

let lab: TunnelLab | undefined;
let charon: Charon | undefined;

afterEach(async () => {
  await charon?.stop();
  await lab?.dispose();
  charon = undefined;
  lab = undefined;
});

const permitted = canUseNamespaces() && daemonsAreBuilt();

describe.skipIf(!permitted)("certificates of an authority", () => {
  it("prove both ends; the home is told name servers, and the chosen suite is used", async () => {
    lab = await TunnelLab.build({ homes: [{ name: "alice", ikev2: "ed25519" }] });
    const { directory } = lab;
    const home = lab.home("alice");
    const authority = makeAuthority(directory);
    const [ofHome, ofServer] = ["alice.example", "server.example"].map((name) =>
      certify(authority, name),
    );
    const ca = `ca-file = "${authority}.pem"`;
    edit(lab.server.configFile, [
      [/private-key-file = .*/, `${ofServer}\n${ca}\ndns = ["${NAME_SERVER}"]`],
    ]);
    edit(join(directory, "server", "homes", "alice.toml"), [[/public-key = .*/, ""]]);
    edit(home.client.configFile, [
      [/private-key-file = .*/, `${ofHome}\n${ca}\nsuites = ["aes-gcm-128"]`],
      [/server-public-key = .*/, ""],
    ]);
    await lab.server.start();
    await home.client.start();
    const { client } = await lab.confirmed(home, home.ipv4(7));
    expect(client.dns).toEqual([NAME_SERVER]);
    expect(client.keys?.associations).toMatchObject([{ suite: "aes-gcm-128" }]);
    await home.reachesFar();
  });
});

describe.skipIf(!permitted || !canUseNamespaces({ tun: true }) || !hasCharon())(
  "an end that does not know RFC 5739",
  () => {
    it("gets, as a home, the first host of its prefix", async () => {
      lab = await TunnelLab.build({ homes: [{ name: "alice", ikev2: "psk" }] });
      const home = lab.home("alice");
      await lab.server.start();
      charon = await Charon.start(home.namespace, {
        swanctl: `connections { ht {
            version = 2
            mobike = no
            remote_addrs = ${SERVER}
            vips = ::
            local { auth = psk
              id = alice.example }
            remote { auth = psk
              id = server.example }
            children { net { remote_ts = ::/0 } } } }
          secrets { ike-1 { secret = "${pskOf(lab)}" } }`,
      });
      await charon.swanctl("--initiate", "--child", "net");
      await home.namespace.run(`ping -n -c 1 -W 5 -I ${home.address} ${FAR}`);
      expect(await charon.swanctl("--list-sas")).toContain(`${home.address}/128`);
    });

    it("gives, as a server, an address that the home takes if it may, and follows it", async () => {
      lab = await TunnelLab.build({ homes: [{ name: "alice", ikev2: "psk" }] });
      const home = lab.home("alice");
      const psk = pskOf(lab);
      edit(home.client.configFile, [[/psk-file = /, "fallback = true\npsk-file = "]]);
      charon = await Charon.start(lab.serverNamespace, {
        swanctl: `connections { ht {
            version = 2
            mobike = no
            local_addrs = ${SERVER}
            pools = p6
            local { auth = psk
              id = server.example }
            remote { auth = psk
              id = alice.example }
            children { net { local_ts = ::/0 } } } }
          pools { p6 { addrs = ${SINGLE}/128
              dns = ${NAME_SERVER} } }
          secrets { ike-1 { secret = "${psk}" } }`,
      });
      await home.client.start();
      const status = await home.client.until(({ state }) => state.kind === "confirmed");
      expect(status).toMatchObject({
        address: SINGLE,
        prefixes: [`${SINGLE}/128`],
        dns: [NAME_SERVER],
      });
      expect(status.problem).toBeUndefined();
      await home.reachesFar();
      await home.take(8);
      await home.client.until(({ uplink }) => uplink?.address === home.ipv4(8));
      await home.reachesFar();
    });
  },
);

function edit(file: string, changes: readonly (readonly [RegExp, string])[]): void {
  let text = readFileSync(file, "utf8");
  for (const [from, to] of changes) {
    if (!from.test(text)) throw new Error(`nothing like ${from} in ${file}`);
    text = text.replace(from, to);
  }
  writeFileSync(file, text);
}

function pskOf({ directory }: TunnelLab): string {
  return readFileSync(join(directory, "alice", "psk"), "utf8").trim();
}

/** An authority's `.pem` and `.key`, by the path before the dot. */
function makeAuthority(directory: string): string {
  const path = join(directory, "authority");
  const files = ["-keyout", `${path}.key`, "-out", `${path}.pem`];
  openssl([...NEW_CERTIFICATE, ...files, "-subj", "/CN=Authority"]);
  return path;
}

/** A certificate for an identity, as lines of configuration. */
function certify(authority: string, identity: string): string {
  const path = `${authority}.${identity}`;
  const files = ["-keyout", `${path}.key`, "-out", `${path}.pem`];
  const issuer = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`];
  const subject = ["-subj", `/CN=${identity}`, "-addext", `subjectAltName=DNS:${identity}`];
  openssl([...NEW_CERTIFICATE, ...files, ...issuer, ...subject]);
  return `private-key-file = "${path}.key"\ncertificate-file = "${path}.pem"`;
}

const NEW_CERTIFICATE = [
  ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  ...["-noenc", "-days", "30"],
];

function openssl(argv: readonly string[]): void {
  const made = spawnSync("openssl", argv, { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
}
