/**
 * A process of the demonstration: pings a host (ICMPv6 echo, RFC 4443 section 4.1), many times a second, until it
 * is ended. It writes a line `sent N TIME` for each request and `answered N TIME` for each answer.
 */

import { AddressFamily, createSocket, Protocol } from "raw-socket";
import { monotonicMs } from "./moment.ts";

const ECHO_REQUEST = 128;
const ECHO_REPLY = 129;
const HEADER = 8; // octets: type, code, checksum, identifier, sequence number
const LENGTH = 64; // octets, as ping(8)
const IDENTIFIER = process.pid & 0xffff;

const [target = "", interval = "5"] = process.argv.slice(2);
const socket = createSocket({ protocol: Protocol.ICMPv6, addressFamily: AddressFamily.IPv6 });
let count = 0;

socket.on("message", (message) => {
  if (message.length < HEADER || message[0] !== ECHO_REPLY) return;
  if (message.readUInt16BE(4) !== IDENTIFIER) return;
  // The number on the wire has 16 bits; the one it stands for is the latest that ends in them.
  const age = (count - 1 - message.readUInt16BE(6)) & 0xffff;
  tell("answered", count - 1 - age);
});
// What cannot be sent is lost, which is what is to be seen.
socket.on("error", () => undefined);

setInterval(() => {
  const request = Buffer.alloc(LENGTH);
  request[0] = ECHO_REQUEST; // the kernel fills in the checksum
  request.writeUInt16BE(IDENTIFIER, 4);
  request.writeUInt16BE(count & 0xffff, 6);
  tell("sent", count++);
  socket.send(request, 0, LENGTH, target, () => undefined);
}, Number(interval));

function tell(what: "sent" | "answered", number: number): void {
  process.stdout.write(`${what} ${number} ${monotonicMs().toFixed(3)}\n`);
}
