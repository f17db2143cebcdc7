/** strongSwan's charon in a namespace, with its own /run, its own configuration, and ESP in user space. */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, type Namespace, type Running } from "../../support/namespace.ts";

/** Plugins in this order: kernel-libipsec before kernel-netlink, so that it carries the packets. */
const PLUGINS =
  "random nonce aes sha1 sha2 hmac kdf gcm openssl pem pkcs1 pkcs8 x509 pubkey constraints revocation " +
  "kernel-libipsec kernel-netlink socket-default attr vici updown";

/** Prints a reason when there is no charon here. */
export function hasCharon(): boolean {
  for (const program of ["charon-systemd", "swanctl"]) {
    // Not by starting it: charon-systemd knows no --version and would run.
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) {
      process.stderr.write(`skipped: these tests need ${program}, of strongSwan\n`);
      return false;
    }
  }
  return true;
}

export interface CharonOptions {
  /** The text of swanctl.conf. */
  readonly swanctl: string;
  /** More settings of charon. */
  readonly settings?: string;
  /** Files below swanctl's directory, such as `pubkey/home.pem`. */
  readonly files?: Readonly<Record<string, string>>;
}

export class Charon {
  readonly #namespace: Namespace;
  readonly #directory: string;
  #process: Running | undefined;

  private constructor(namespace: Namespace, directory: string) {
    this.#namespace = namespace;
    this.#directory = directory;
  }

  static async start(namespace: Namespace, options: CharonOptions): Promise<Charon> {
    const directory = mkdtempSync(join(tmpdir(), "hometun-charon-"));
    const charon = new Charon(namespace, directory);
    await charon.#start(options);
    return charon;
  }

  async #start({ swanctl, settings = "", files = {} }: CharonOptions): Promise<void> {
    const path = (name: string) => join(this.#directory, name);
    for (const folder of ["x509", "x509ca", "pubkey", "private", "pkcs8"]) {
      mkdirSync(path(folder));
    }
    for (const [name, text] of Object.entries(files)) writeFileSync(path(name), `${text}\n`);
    writeFileSync(path("swanctl.conf"), swanctl);
    writeFileSync(
      path("strongswan.conf"),
      `charon-systemd {
        load_modular = no
        load = ${PLUGINS}
        ${settings}
        plugins { vici { socket = unix://${path("vici")} } }
        filelog { log { path = ${path("log")}
            flush_line = yes
            default = 1
            ike = 2
            cfg = 2 } }
      }
      swanctl { }
      `,
    );
    const command = "mount -t tmpfs none /run && exec charon-systemd";
    this.#process = this.#namespace.spawn(["unshare", "-m", "sh", "-c", command], {
      env: { STRONGSWAN_CONF: path("strongswan.conf"), SWANCTL_DIR: this.#directory },
    });
    let trouble: unknown;
    const load = ["--load-all", "--file", path("swanctl.conf")];
    const isLoaded = async () => {
      try {
        await this.swanctl(...load);
        return true;
      } catch (error) {
        trouble = error;
        return undefined;
      }
    };
    await eventually(isLoaded).catch(() => {
      throw new Error(`charon does not start: ${String(trouble)}\n${this.#process?.stderr}`);
    });
  }

  async swanctl(...argv: string[]): Promise<string> {
    const uri = `unix://${join(this.#directory, "vici")}`;
    return await this.#namespace.run([
      "env",
      `SWANCTL_DIR=${this.#directory}`,
      `STRONGSWAN_CONF=${join(this.#directory, "strongswan.conf")}`,
      "swanctl",
      ...argv,
      "--uri",
      uri,
    ]);
  }

  /** What it has written, for the message of a failed test. */
  get log(): string {
    return readFileSync(join(this.#directory, "log"), "utf8");
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
