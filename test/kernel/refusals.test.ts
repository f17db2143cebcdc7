/**
 * Bad input, refused by the kernel under the name that /proc/net/xfrm_stat has for it, or by the daemon where it is for
 * the daemon to judge. Nothing moves and the tunnels work. What is made anew is made by Linux (a state and an interface
 * by ip(8) in the stranger's network, with the keys of a home), the rest was captured on the way and altered.
 *
 *     ┌ alice ──┐  192.0.2.7 (UDP 4500)     ┌ router ─┐         ┌ server ───────┐
 *     └─────────┘                           │ capture ├─────────┤ 198.51.100.1  │
 *     ┌ mallory ┐  192.0.2.39 (protocol 50) │         │         │ ht-alice      │
 *     └─────────┘                           │         │         │ ht-mallory    │
 *     ┌ stranger ┐ 203.0.113.226 ───────────┤         │         └───────────────┘
 *     └──────────┘                          └─────────┘
 */

import { readFile } from "node:fs/promises";
import { parse } from "smol-toml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ServerStatus } from "../../server/status.ts";
import type { CapturedEsp } from "../support/capture.ts";
import { eventually, PATIENCE_MS } from "../support/namespace.ts";
import { RawSender } from "../support/raw-sender.ts";
import {
  daemonsAreBuilt,
  FAR,
  homeIn,
  type LabHome,
  SERVER,
  STRANGER,
  TunnelLab,
} from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces, growth, xfrmStatistics } from "../support/xfrm.ts";

const KERNEL = 'data-plane = "kernel"';
/** Above what a home's own kernel uses here, inside what a server's window takes. */
const FORGED = 500_000;

interface Keys {
  readonly spi: number;
  readonly key: string;
  readonly "integrity-key": string;
}

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("bad input to the kernel", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let mallory: LabHome;
  let stranger: RawSender;
  let keys: Keys;
  let forged = FORGED;
  const captured = new Map<LabHome, Uint8Array>();

  beforeAll(async () => {
    lab = await TunnelLab.open({
      homes: [
        { name: "alice", encapsulation: "udp", suite: "aes-gcm-256", client: KERNEL },
        {
          name: "mallory",
          encapsulation: "esp",
          suite: "aes-cbc-256-hmac-sha2-256-128",
          client: KERNEL,
        },
      ],
      server: `${KERNEL}\nallow-private-endpoints = true`,
    });
    alice = lab.home("alice");
    mallory = lab.home("mallory");
    const file = parse(await readFile(mallory.keyFile, "utf8")) as unknown as {
      keys: { outbound: Keys };
    };
    keys = file.keys.outbound;
    stranger = await RawSender.start(lab.stranger);
    const capture = await lab.capture("server");
    for (const home of [alice, mallory]) {
      await home.reachesFar();
      const isHomes = ({ source }: CapturedEsp) => source === home.ipv4(7);
      const packet = await eventually(async () => (await capture.esp()).find(isHomes));
      captured.set(home, packet.octets);
    }
    await capture.stop();
  }, PATIENCE_MS * 4);

  afterAll(async () => {
    await lab?.dispose();
  });

  /** What the kernel of the server counts while something is done; checks that nobody moves and the tunnels work. */
  async function counted(
    attack: () => Promise<void>,
    packets = 1,
  ): Promise<Record<string, number>> {
    const places = ({ homes }: ServerStatus) =>
      homes.map(({ name, endpoint, moves }) => ({ name, moves, address: endpoint?.address }));
    const before = places(await lab.server.status());
    const statistics = await xfrmStatistics(lab.serverNamespace);
    await attack();
    const grown = await eventually(async () => {
      const counts = growth(statistics, await xfrmStatistics(lab.serverNamespace));
      const sum = Object.values(counts).reduce((total, count) => total + count, 0);
      return sum >= packets ? counts : undefined;
    });
    expect(places(await lab.server.status())).toEqual(before);
    await alice.reachesFar();
    return grown;
  }

  async function send(octets: Uint8Array, kind: "esp" | "udp"): Promise<void> {
    await stranger.send({ kind, hex: Buffer.from(octets).toString("hex"), to: SERVER });
  }

  const turned = (octets: Uint8Array, at: number) => octets.with(at, (octets[at] ?? 0) ^ 1);

  describe.each([
    { name: "alice", kind: "udp" },
    { name: "mallory", kind: "esp" },
  ] as const)("ESP from a stranger, with encapsulation $kind", ({ name, kind }) => {
    let home: LabHome;
    let packet: Uint8Array;
    const refused = async (reason: "replayed" | "not-authentic") =>
      homeIn(await lab.server.status(), name).traffic.refused[reason] ?? 0;

    beforeAll(() => {
      home = lab.home(name);
      packet = captured.get(home) ?? new Uint8Array();
    });

    it("of an SPI that nobody has: XfrmInNoStates", async () => {
      expect(await counted(() => send(turned(packet, 0), kind))).toEqual({ XfrmInNoStates: 1 });
    });

    it("that was captured on the way and is sent again: XfrmInStateSeqError", async () => {
      const before = await refused("replayed");
      expect(await counted(() => send(packet, kind))).toEqual({ XfrmInStateSeqError: 1 });
      expect(await refused("replayed")).toBe(before + 1);
    });

    it("with one bit turned, wherever: XfrmInStateProtoError", async () => {
      const fresh = packet.with(6, 1); // a number that was not yet used
      const before = await refused("not-authentic");
      const places = [7, 8, 24, packet.length >> 1, packet.length - 1];
      const counts = await counted(async () => {
        for (const at of places) await send(turned(fresh, at), kind);
      }, places.length);
      expect(counts).toEqual({ XfrmInStateProtoError: places.length });
      expect(await refused("not-authentic")).toBe(before + places.length);
    });

    it("numbered far ahead does not move the window when it is forged: XfrmInStateProtoError", async () => {
      const ahead = packet.with(4, 0x7f);
      expect(await counted(() => send(ahead, kind))).toEqual({ XfrmInStateProtoError: 1 });
      await home.reachesFar();
    });

    it("too short for IV and ICV: XfrmInStateProtoError", async () => {
      const short = packet.with(6, 1).subarray(0, 20);
      expect(await counted(() => send(short, kind))).toEqual({ XfrmInStateProtoError: 1 });
    });

    it("in the other encapsulation: XfrmInStateMismatch", async () => {
      const other = kind === "udp" ? "esp" : "udp";
      const counts = await counted(() => send(packet.with(6, 1), other));
      expect(counts).toEqual({ XfrmInStateMismatch: 1 });
    });
  });

  it("too short for an SPI: XfrmInHdrError", async () => {
    const counts = await counted(() => send(Uint8Array.of(1, 2, 3), "esp"));
    expect(counts).toEqual({ XfrmInHdrError: 1 });
  });

  describe("an advertisement", () => {
    let linkLocal: string;
    let serverLinkLocal: string;
    let sender: RawSender;

    beforeAll(async () => {
      const status = homeIn(await lab.server.status(), "mallory");
      linkLocal = status.linkLocal;
      serverLinkLocal = status.serverLinkLocal;
      await mallory.client.crash(); // its tunnel stands on
      sender = await RawSender.start(mallory.namespace);
    });

    /** RFC 4861 section 4.4, RFC 2529 section 5. */
    function advertisement(target: string, address: string): string {
      const octets = (text: string) => text.split(".").map((part) => Number(part));
      const hex = Buffer.from(octets(address)).toString("hex");
      return `8800000020000000${expanded(target)}02010000${hex}`;
    }

    function expanded(address: string): string {
      const [head = "", tail] = address.split("::");
      const groups = (text: string) =>
        text
          .split(":")
          .filter(Boolean)
          .map((each) => each.padStart(4, "0"));
      if (tail === undefined) return groups(head).join("");
      const rest = groups(tail);
      const zeros = 8 - groups(head).length - rest.length;
      return [...groups(head), ...Array<string>(zeros).fill("0000"), ...rest].join("");
    }

    async function refused(reason: string, hex: string, hopLimit = 255): Promise<void> {
      const count = (status: ServerStatus) =>
        homeIn(status, "mallory").advertisements.refused[reason] ?? 0;
      const before = await lab.server.status();
      await sender.send({ kind: "icmpv6", hex, to: `${serverLinkLocal}%ht0`, hopLimit });
      const after = await lab.server.until((status) => count(status) > count(before));
      for (const name of ["alice", "mallory"]) {
        const [is, was] = [homeIn(after, name), homeIn(before, name)];
        expect({ moves: is.moves, at: is.endpoint?.address }).toEqual({
          moves: was.moves,
          at: was.endpoint?.address,
        });
      }
      await alice.reachesFar();
    }

    it("for another home is refused", async () => {
      const { linkLocal: other } = homeIn(await lab.server.status(), "alice");
      await refused("target", advertisement(other, mallory.ipv4(9)));
      await refused("target", advertisement(alice.address, mallory.ipv4(9)));
    });

    it("that somebody could have forwarded is refused", async () => {
      await refused("hop-limit", advertisement(linkLocal, mallory.ipv4(9)), 254);
    });

    it("with another home's confirmed endpoint is refused", async () => {
      await refused("endpoint-in-use", advertisement(linkLocal, alice.ipv4(7)));
    });

    it("with an option of length zero is refused", async () => {
      await refused("malformed", `8800000020000000${expanded(linkLocal)}0200000000000000`);
    });

    it("in clear on the server's uplink moves nothing", async () => {
      const outside = await RawSender.start(lab.router);
      const count = ({ unattributed }: ServerStatus) =>
        unattributed.advertisements["not-a-tunnel"] ?? 0;
      const before = await lab.server.status();
      await outside.send({
        kind: "icmpv6",
        hex: advertisement(linkLocal, mallory.ipv4(9)),
        to: "ff02::1%server",
        hopLimit: 255,
      });
      const after = await lab.server.until((status) => count(status) > count(before));
      expect(homeIn(after, "mallory").moves).toBe(homeIn(before, "mallory").moves);
    });
  });

  // Last: the numbers that are used here leave those of the home behind the window.
  describe("ESP that Linux makes with a home's keys", () => {
    /** Sends an echo from an inner source, in ESP of mallory's SPI. */
    async function echo(
      source: string,
      options: { destination?: string; integrityKey?: string; inner?: "inet" | "inet6" } = {},
    ): Promise<void> {
      const { destination = FAR, inner = "inet6" } = options;
      const { integrityKey = keys["integrity-key"] } = options;
      forged += 100;
      const any = inner === "inet6" ? "::/0" : "0.0.0.0/0";
      const length = inner === "inet6" ? 128 : 32;
      await lab.stranger.run(
        `ip xfrm state add src ${STRANGER} dst ${SERVER} proto esp spi ${keys.spi} reqid 9 mode tunnel \
           enc 'cbc(aes)' 0x${keys.key} auth-trunc 'hmac(sha256)' 0x${integrityKey} 128 \
           replay-window 64 replay-oseq ${forged} flag esn if_id 9 sel src ${any} dst ${any}
         ip xfrm policy add src ${source}/${length} dst ${any} dir out if_id 9 \
           tmpl src ${STRANGER} dst ${SERVER} proto esp reqid 9 mode tunnel
         ip link add forge type xfrm dev lo if_id 9
         ip link set forge addrgenmode none; ip link set forge up
         ip addr add ${source}/${length} dev forge ${inner === "inet6" ? "nodad" : ""}
         ip route add ${destination}/${length} dev forge src ${source}`,
      );
      await lab.stranger
        .run(["ping", "-n", "-c", "1", "-W", "1", "-I", source, destination])
        .catch(() => undefined); // nobody answers
      await lab.stranger.run(`ip link del forge; ip xfrm state flush; ip xfrm policy flush`);
    }

    it("with other keys: XfrmInStateProtoError", async () => {
      const integrityKey = "5a".repeat(keys["integrity-key"].length / 2);
      const counts = await counted(() => echo(mallory.address, { integrityKey }));
      expect(counts).toEqual({ XfrmInStateProtoError: 1 });
    });

    // What mallory's kernel still sends is behind the window now, and counted too.
    it("from another home's inner address, or anybody's: XfrmInNoPols", async () => {
      for (const source of [alice.address, "2001:db8:dead::1"]) {
        expect(await counted(() => echo(source))).toMatchObject({ XfrmInNoPols: 1 });
        // To the server itself: each of its ICMPv6 sockets is asked about, whatever it would have taken.
        const toServer = await counted(() => echo(source, { destination: "2001:db8:ffff::1" }));
        expect(toServer).toHaveProperty("XfrmInNoPols");
      }
    });

    // Since Linux 6.3, and 6.1 with its corrections, what is inside is looked at after its header is taken off.
    it("with IPv4 in it: XfrmInStateModeError, or XfrmInStateMismatch", async () => {
      const destination = "192.0.2.200";
      await lab.serverNamespace.run(`ip addr add ${destination}/32 dev lo`);
      const counts = await counted(() => echo("192.0.2.199", { destination, inner: "inet" }));
      const { XfrmInStateModeError = 0, XfrmInStateMismatch = 0 } = counts;
      expect(XfrmInStateModeError + XfrmInStateMismatch).toBe(1);
    });
  });
});
