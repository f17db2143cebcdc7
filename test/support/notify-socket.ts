/**
 * A service manager's end of sd_notify(3), for tests: a Unix datagram socket that remembers what it was told, and keeps
 * the descriptors it is given, as systemd does.
 */

import {
  checked,
  libcCalls,
  onReadable,
  type Readiness,
} from "../../common/adapters/linux/libc.ts";
import { Slab } from "../../common/adapters/linux/slab.ts";
import type { SpawnOptions } from "./namespace.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const LONGEST = 4096;
// struct msghdr, struct iovec, struct cmsghdr with one descriptor; the text
const IOVEC = 56;
const CONTROL = 72;
const CONTROL_LENGTH = 24;
const TEXT = 96;

export class NotifySocket {
  /** Datagrams in the order they came, each split into its assignments. */
  readonly heard: string[][] = [];
  readonly address: string;
  /** Descriptors by name. */
  readonly kept = new Map<string, number>();
  readonly #fd: number;
  readonly #slab = new Slab(TEXT + LONGEST);
  readonly #readiness: Readiness;

  /** `address` as in `NOTIFY_SOCKET`. */
  constructor(address: string) {
    this.address = address;
    const abstract = address.startsWith("@");
    const name = Buffer.from(abstract ? `\0${address.slice(1)}` : `${address}\0`);
    this.#fd = checked(libcCalls.socket(AF_UNIX, SOCK_DGRAM, 0), "open");
    this.#slab.octets.set([AF_UNIX, 0, ...name]);
    const length = 2 + name.length;
    checked(libcCalls.bind(this.#fd, this.#slab.address(0, length), length), "bind");
    this.#readiness = onReadable(this.#fd, () => this.#receive());
  }

  /** What a process that it starts is told of it, and given. */
  get startOptions(): SpawnOptions {
    const [kept] = this.kept;
    const env = { NOTIFY_SOCKET: this.address };
    return kept === undefined ? { env } : { env, descriptor: { name: kept[0], fd: kept[1] } };
  }

  #receive(): void {
    const slab = this.#slab;
    slab.octets.fill(0, 0, TEXT);
    slab.setPointer(16, slab.address(IOVEC, 16));
    slab.setPointer(24, 1);
    slab.setPointer(32, slab.address(CONTROL, CONTROL_LENGTH));
    slab.setPointer(40, CONTROL_LENGTH);
    slab.setPointer(IOVEC, slab.address(TEXT, LONGEST));
    slab.setPointer(IOVEC + 8, LONGEST);
    const got = checked(libcCalls.recvmsg(this.#fd, slab.address(0, IOVEC), 0), "receive");
    const assignments = Buffer.from(slab.octets.subarray(TEXT, TEXT + got))
      .toString()
      .split("\n");
    this.heard.push(assignments);
    const name = assignments.find((each) => each.startsWith("FDNAME="))?.slice(7) ?? "stored";
    const hasDescriptor = slab.words32[40 >> 2] !== 0;
    if (hasDescriptor || assignments.includes("FDSTOREREMOVE=1")) this.#forget(name);
    if (hasDescriptor) this.kept.set(name, slab.view.getInt32(CONTROL + 16, true));
  }

  #forget(name: string): void {
    const fd = this.kept.get(name);
    if (fd !== undefined) libcCalls.close(fd);
    this.kept.delete(name);
  }

  close(): void {
    this.#readiness.close();
    libcCalls.close(this.#fd);
    for (const name of [...this.kept.keys()]) this.#forget(name);
  }
}
