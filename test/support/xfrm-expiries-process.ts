/**
 * Has the kernel tell COUNT times that a security association nears its end, which is not true: XFRM_MSG_EXPIRE as key
 * managers may send it (linux/xfrm.h). Everybody who listens for expiries hears it.
 *
 *     xfrm-expiries-process.ts COUNT DESTINATION SPI
 */

import { XfrmSocket } from "../../common/adapters/xfrm-socket.ts";
import { ipv4Octets, parseIpv4 } from "../../common/ip/address.ts";
import { XfrmMessageType } from "../../common/xfrm/message-type.ts";

const AT_ONCE = 128;
const USER_EXPIRE_LENGTH = 232; // octets of struct xfrm_user_expire
const ID = 56; // offsets in it
const SPI = ID + 16;
const PROTOCOL = ID + 20;
const FAMILY = 212;
const ESP = 50;
const AF_INET = 2;

const [, , count = "0", destination = "", spi = "0"] = process.argv;
const payload = new Uint8Array(USER_EXPIRE_LENGTH);
const view = new DataView(payload.buffer);
payload.set(ipv4Octets(parseIpv4(destination)), ID);
view.setUint32(SPI, Number(spi));
view.setUint8(PROTOCOL, ESP);
view.setUint16(FAMILY, AF_INET, true);
const request = { operation: "tell of an end", type: XfrmMessageType.expire, payload };
const socket = new XfrmSocket();
for (let told = 0; told < Number(count); told += AT_ONCE) {
  const [refused] = socket.attempt(new Array(AT_ONCE).fill(request));
  if (refused !== undefined) throw refused;
}
socket.close();
