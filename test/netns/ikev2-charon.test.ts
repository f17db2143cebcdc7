/**
 * Our IKEv2 against strongSwan's, in both roles. charon's kernel-libipsec carries its packets, and always in UDP.
 *
 *     ┌ ours ─────────────────┐            ┌ theirs ────────────────────┐
 *     │ peer-process.ts       │ 192.0.2/24 │ charon                     │
 *     │ answers for           ├────────────┤ 2001:db8:5::2 on lo as     │
 *     │ 2001:db8:5::1         │ .1      .2 │ gateway                    │
 *     └───────────────────────┘            └────────────────────────────┘
 */

import { createPublicKey } from "node:crypto";
import { resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import type { ChildSuite, IkeSuite } from "../../common/ikev2/algorithms.ts";
import { charonSessions } from "../common/ikev2/vectors/charon.ts";
import { pki } from "../common/ikev2/vectors/pki.ts";
import {
  canUseNamespaces,
  eventually,
  Lab,
  type Namespace,
  type Running,
} from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";
import { Charon, type CharonOptions, hasCharon } from "./ikev2/charon.ts";
import type { PeerCommand, PeerConfig } from "./ikev2/peer-process.ts";

const PROCESS = resolve(import.meta.dirname, "ikev2/peer-process.ts");
const OURS = "192.0.2.1";
const THEIRS = "192.0.2.2";
const OUR_SIDE = "2001:db8:5::1";
const THEIR_SIDE = "2001:db8:5::2";
const HOME_ADDRESS = "2001:db8:1:1::100";

interface Algorithms {
  readonly name: string;
  readonly ike: IkeSuite;
  readonly child: ChildSuite;
  readonly proposals: string;
  readonly espProposals: string;
}

const GCM: Algorithms = {
  name: "AES-GCM-256, HMAC-SHA2-256, X25519",
  ike: { encryption: "aes-gcm-256", prf: "hmac-sha2-256", group: "x25519" },
  child: { suite: "aes-gcm-256", extendedSequenceNumbers: [true, false] },
  proposals: "aes256gcm16-prfsha256-x25519",
  espProposals: "aes256gcm16",
};
const algorithms: Algorithms[] = [
  GCM,
  {
    name: "AES-GCM-128, HMAC-SHA2-384, ECP-256, each Child SA with its own agreement",
    ike: { encryption: "aes-gcm-128", prf: "hmac-sha2-384", group: "ecp-256" },
    child: { suite: "aes-gcm-128", extendedSequenceNumbers: [false], group: "ecp-256" },
    proposals: "aes128gcm16-prfsha384-ecp256",
    espProposals: "aes128gcm16-ecp256",
  },
  {
    name: "AES-CBC-256, HMAC-SHA2-256-128, MODP-2048",
    ike: { encryption: "aes-cbc-256-hmac-sha2-256-128", prf: "hmac-sha2-256", group: "modp-2048" },
    child: { suite: "aes-cbc-256-hmac-sha2-256-128", extendedSequenceNumbers: [false] },
    proposals: "aes256-sha256-prfsha256-modp2048",
    espProposals: "aes256-sha256",
  },
];

interface Proofs {
  readonly name: string;
  readonly credential: PeerConfig["credential"];
  readonly trust: PeerConfig["trust"];
  /** `local` and `remote` of charon's connection, and its secrets. */
  readonly local: string;
  readonly remote: string;
  readonly secrets: string;
  readonly files: Readonly<Record<string, string>>;
}

const publicOf = (key: string) =>
  createPublicKey(key).export({ type: "spki", format: "pem" }).toString().trim();
const rawKeys = (name: string, ours: string, theirs: string): Proofs => ({
  name,
  credential: { key: ours },
  trust: { publicKeys: [publicOf(theirs)] },
  local: "auth = pubkey\n pubkeys = theirs.pem",
  remote: "auth = pubkey\n pubkeys = ours.pem",
  secrets: "",
  files: {
    "pubkey/ours.pem": publicOf(ours),
    "pubkey/theirs.pem": publicOf(theirs),
    "private/theirs.pem": theirs,
  },
});

const PSK: Proofs = {
  name: "a shared key",
  credential: { psk: "hometun-test-psk" },
  trust: { psk: "hometun-test-psk" },
  local: "auth = psk",
  remote: "auth = psk",
  secrets: 'secrets { ike-1 { secret = "hometun-test-psk" } }',
  files: {},
};
const CERTIFICATES: Proofs = {
  name: "certificates, ours with one between it and the authority",
  credential: { key: pki.ecdsaKey, certificates: [pki.home1OfIntermediate, pki.intermediate] },
  trust: { authorities: [pki.authority] },
  local: "auth = pubkey\n certs = theirs.pem",
  remote: "auth = pubkey\n cacerts = authority.pem",
  secrets: "",
  files: {
    "x509ca/authority.pem": pki.authority,
    "x509/theirs.pem": pki.home2,
    "private/theirs.pem": pki.ecdsaKey,
  },
};
const proofs: Proofs[] = [
  PSK,
  rawKeys("raw Ed25519 keys", pki.ed25519Key, pki.otherEd25519Key),
  rawKeys("raw ECDSA keys", pki.ecdsaKey, pki.otherEcdsaKey),
  CERTIFICATES,
];

/** charon's identity and ours; those of the certificates. */
const OUR_ID = "home1.example";
const THEIR_ID = "home2.example";

type OurRole = PeerConfig["role"];
const roles: OurRole[] = ["home", "gateway"];

const permitted = canUseNamespaces({ tun: true }) && hasCharon();

describe.skipIf(!permitted)("IKEv2 with charon", () => {
  let lab: Lab;
  let ours: Namespace;
  let theirs: Namespace;
  let charon: Charon | undefined;

  beforeEach(async () => {
    lab = new Lab();
    ours = await lab.namespace("ours");
    theirs = await lab.namespace("theirs");
    await lab.connect(ours, "wire", theirs, "wire");
    await ours.run(`ip addr add ${OURS}/24 dev wire`);
    await theirs.run(`ip addr add ${THEIRS}/24 dev wire; ip addr add ${THEIR_SIDE}/128 dev lo`);
  });

  afterEach(async () => {
    await charon?.stop();
    charon = undefined;
    await lab.dispose();
  });

  interface Choice {
    readonly role: OurRole;
    readonly suite?: Algorithms;
    readonly proof?: Proofs;
    readonly config?: Partial<PeerConfig>;
    readonly connection?: string;
    readonly settings?: string;
  }

  async function startCharon(choice: Choice): Promise<Charon> {
    const { role, suite = GCM, proof = PSK } = choice;
    const isGateway = role === "home";
    const options: CharonOptions = {
      swanctl: `connections { ht {
          version = 2
          local_addrs = ${THEIRS}
          remote_addrs = ${OURS}
          proposals = ${suite.proposals}
          mobike = no
          ${isGateway ? "pools = p6" : "vips = ::"}
          ${choice.connection ?? ""}
          local { ${proof.local}
            id = ${THEIR_ID} }
          remote { ${proof.remote}
            id = ${OUR_ID} }
          children { net {
              ${isGateway ? "local_ts = ::/0" : "remote_ts = ::/0"}
              esp_proposals = ${suite.espProposals}
              rekey_time = 0 } } } }
        ${isGateway ? `pools { p6 { addrs = ${HOME_ADDRESS}/128 } }` : ""}
        ${proof.secrets}`,
      files: proof.files,
      ...(choice.settings === undefined ? {} : { settings: choice.settings }),
    };
    charon = await Charon.start(theirs, options);
    return charon;
  }

  function startOurs({ role, suite = GCM, proof = PSK, config = {} }: Choice): Running {
    const whole: PeerConfig = {
      role,
      local: OURS,
      remote: THEIRS,
      identity: OUR_ID,
      peerIdentity: THEIR_ID,
      credential: proof.credential,
      trust: proof.trust,
      ikeSuites: [suite.ike],
      childSuites: [suite.child],
      fallback: HOME_ADDRESS,
      ...config,
    };
    return ours.spawn(nodeCommand(PROCESS, JSON.stringify(whole)));
  }

  /** Both, with a Child SA between them. */
  async function connect(choice: Choice): Promise<{ charon: Charon; peer: Running }> {
    const started = await startCharon(choice);
    const peer = startOurs(choice);
    await kind(peer, "ready");
    if (choice.role === "gateway") await started.swanctl("--initiate", "--child", "net");
    await kind(peer, "child-created");
    return { charon: started, peer };
  }

  const kind = (peer: Running, name: string) =>
    peer
      .line((line) => (JSON.parse(line) as { kind: string }).kind === name)
      .catch((cause) => {
        throw new Error(`${String(cause)}\n${charon?.log ?? ""}`);
      });
  const command = (peer: Running, input: PeerCommand) => peer.write(`${JSON.stringify(input)}\n`);

  /** Through the tunnel and back, begun by either end. */
  async function expectTraffic(role: OurRole, peer: Running): Promise<void> {
    if (role === "home") {
      command(peer, { command: "ping", from: HOME_ADDRESS, to: THEIR_SIDE });
      await kind(peer, "pong");
      return;
    }
    await theirs.run(`ping -c 1 -W 5 -I ${HOME_ADDRESS} ${OUR_SIDE}`);
  }

  /** Everything that can be done to an IKE SA, with a ping after each. */
  async function expectWholeLife(
    role: OurRole,
    { charon: other, peer }: { charon: Charon; peer: Running },
  ) {
    await expectTraffic(role, peer);

    command(peer, { command: "rekey-child" });
    await kind(peer, "child-deleted");
    await expectTraffic(role, peer);

    await other.swanctl("--rekey", "--child", "net");
    await kind(peer, "child-deleted");
    await expectTraffic(role, peer);

    command(peer, { command: "rekey-ike" });
    await kind(peer, "ike-rekeyed");
    await expectTraffic(role, peer);

    await other.swanctl("--rekey", "--ike", "ht");
    await kind(peer, "ike-rekeyed");
    await expectTraffic(role, peer);

    // After all that, a Child SA made under the newest IKE SA.
    command(peer, { command: "rekey-child" });
    await kind(peer, "child-deleted");
    await expectTraffic(role, peer);
    expect(await other.swanctl("--list-sas")).toContain("ESTABLISHED");
  }

  const all = roles.flatMap((role) => [
    ...algorithms.map((suite) => ({ role, suite, proof: PSK, name: suite.name })),
    ...proofs.slice(1).map((proof) => ({ role, suite: GCM, proof, name: proof.name })),
  ]);

  test.each(all)("with us as $role: $name", async ({ role, suite, proof }) => {
    const both = await connect({ role, suite, proof });
    await expectWholeLife(role, both);
    command(both.peer, { command: "close" });
    await kind(both.peer, "closed");
    expect(await both.charon.swanctl("--list-sas")).not.toContain("ESTABLISHED");
  });

  test.each(roles)("with us as %s, ended by charon", async (role) => {
    const both = await connect({ role });
    await both.charon.swanctl("--terminate", "--ike", "ht");
    expect(await kind(both.peer, "closed")).toContain("by-peer");
  });

  it("asks charon, as a home, for a cookie", async () => {
    const choice: Choice = { role: "gateway", config: { cookieThreshold: 0 } };
    const started = await startCharon(choice);
    const peer = startOurs(choice);
    await kind(peer, "ready");
    await started.swanctl("--initiate", "--child", "net");
    await kind(peer, "cookie-sent");
    await kind(peer, "child-created");
    await expectTraffic("gateway", peer);
  });

  it("gives charon, as a gateway, its cookie back", async () => {
    const choice: Choice = {
      role: "home",
      settings: "cookie_threshold = 1\n cookie_threshold_ip = 1",
    };
    const started = await startCharon(choice);
    // Someone's IKE_SA_INIT that is not followed by anything brings charon to its threshold.
    const [stranger] = charonSessions;
    const octets = Buffer.from(stranger?.messages[0] ?? []).toString("hex");
    const send = `const s = require("node:dgram").createSocket("udp4");
      s.send(Buffer.from("${octets}", "hex"), 500, "${THEIRS}", () => s.close())`;
    await ours.run([process.execPath, "-e", send]);
    await eventually(async () => started.log.includes("IKE_SA_INIT request") || undefined);
    const peer = startOurs(choice);
    await kind(peer, "child-created");
    await expectTraffic("home", peer);
    expect(started.log).toContain("N(COOKIE)");
  });

  test.each(roles)("with us as %s, in fragments", async (role) => {
    const both = await connect({
      role,
      proof: CERTIFICATES,
      config: { fragmentLimit: 400 },
      connection: "fragmentation = force",
      settings: "fragment_size = 400",
    });
    expect(both.charon.log).toMatch(/received fragment #\d of \d/);
    expect(both.charon.log).toMatch(/splitting IKE message .* into \d fragments/);
    await expectWholeLife(role, both);
  });

  it("finds the group that charon wants", async () => {
    const wanted: Algorithms = { ...GCM, proposals: "aes256gcm16-prfsha256-ecp256" };
    const both = await connect({
      role: "home",
      suite: wanted,
      config: { ikeSuites: [GCM.ike, { ...GCM.ike, group: "ecp-256" }] },
    });
    await expectTraffic("home", both.peer);
  });

  test.each(roles)("with us as %s, is answered and answers when asked for life", async (role) => {
    const both = await connect({ role, connection: "dpd_delay = 1s" });
    command(both.peer, { command: "probe" });
    await new Promise((done) => setTimeout(done, 3_000));
    await expectTraffic(role, both.peer);
    expect(both.charon.log).toContain("sending DPD request");
    expect(await both.charon.swanctl("--list-sas")).toContain("ESTABLISHED");
  });
});
