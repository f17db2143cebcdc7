/** charon as the server, and as many homes: all of one process, as its users measure it. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, type Namespace } from "../../test/support/namespace.ts";
import type { PlannedHome, Players } from "./plan.ts";
import { cpuSeconds } from "./process.ts";
import {
  IDENTITY,
  OWNER_ONLY,
  plannedHomes,
  SERVER,
  type Server,
  SHARED_KEY,
  untilStarted,
} from "./servers.ts";

const CONNECT_MS = 120_000;
const INNER = "2001:db8::/64";
/** To ask is work too. */
const ASKING_MS = 50;

/** strongSwan's, with ESP in userspace too, and one interface for all. */
export async function startCharon(
  namespace: Namespace,
  directory: string,
  options: { readonly count: number },
): Promise<Server> {
  const { running, swanctl } = await launchCharon(namespace, directory, "server");
  await swanctl("--load-all", "--file", writeSecret(directory, "server.conf", SERVER_CONNECTION));
  return {
    pid: running.pid ?? 0,
    plan: {
      server: SERVER,
      serverIdentity: IDENTITY,
      sharedKey: SHARED_KEY,
      fallback: true,
      homes: plannedHomes(options.count, "psk"),
    },
    tunnels: async () => (await ikeSas(swanctl)).total,
    stop: async () => {
      await running.stop();
    },
  };
}

/** They bring addresses of their own, connect as their configuration is loaded, and are counted from the loading on. */
export async function startCharonHomes(
  namespace: Namespace,
  directory: string,
  count: number,
): Promise<Players> {
  const { running, swanctl } = await launchCharon(namespace, directory, "homes");
  const connections = plannedHomes(count, "psk").map((home, index) =>
    homeConnection(home, `${INNER.split("/")[0]}${(index + 1).toString(16)}`),
  );
  const text = `connections {\n${connections.join("\n")}\n}\n${SECRETS}`;
  const file = writeSecret(directory, "homes.conf", text);
  const { pid = 0 } = running;
  return {
    async connect() {
      const [began, cpu] = [performance.now(), cpuSeconds(pid)];
      await swanctl("--load-all", "--file", file);
      const areUp = async () => {
        const { total, halfOpen } = await ikeSas(swanctl);
        return total === count && halfOpen === 0 ? true : undefined;
      };
      await eventually(areUp, CONNECT_MS, ASKING_MS);
      const seconds = (performance.now() - began) / 1_000;
      return { seconds, quartilesMs: [], tunnels: count, cpuSeconds: cpuSeconds(pid) - cpu };
    },
    stop: async () => {
      await running.stop();
    },
  };
}

type Swanctl = (...args: string[]) => Promise<string>;

async function launchCharon(namespace: Namespace, directory: string, name: string) {
  const vici = join(directory, `${name}.vici`);
  const config = join(directory, `${name}.strongswan.conf`);
  writeFileSync(config, charonText(vici));
  const command = "mount -t tmpfs none /run && exec charon-systemd";
  const running = namespace.spawn(["unshare", "-m", "sh", "-c", command], {
    env: { STRONGSWAN_CONF: config, SWANCTL_DIR: directory },
  });
  const env = ["env", `STRONGSWAN_CONF=${config}`, `SWANCTL_DIR=${directory}`];
  const swanctl: Swanctl = (...args) =>
    namespace.run([...env, "swanctl", ...args, "--uri", `unix://${vici}`]);
  await untilStarted(running, () => swanctl("--stats"));
  return { running, swanctl };
}

async function ikeSas(swanctl: Swanctl): Promise<{ total: number; halfOpen: number }> {
  const [, total, halfOpen] =
    /IKE_SAs: (\d+) total, (\d+) half-open/.exec(await swanctl("--stats")) ?? [];
  return { total: Number(total), halfOpen: Number(halfOpen) };
}

function writeSecret(directory: string, name: string, text: string): string {
  const file = join(directory, name);
  writeFileSync(file, text, OWNER_ONLY);
  return file;
}

function charonText(vici: string): string {
  return `charon-systemd {
    load_modular = no
    load = random nonce aesni aes sha2 hmac kdf gcm openssl kernel-libipsec kernel-netlink socket-default vici
    plugins { vici { socket = unix://${vici} } }
    filelog { stderr { default = 0 } }
    dos_protection = no
    journal { default = -1 }
  }
  swanctl { }
  `;
}

const SECRETS = `
  secrets {
    ike { secret = "${SHARED_KEY}" }
  }
`;

const SERVER_CONNECTION = `
  connections {
    homes {
      version = 2
      proposals = aes256gcm16-prfsha256-x25519
      pools = inner
      encap = yes
      local { auth = psk
        id = ${IDENTITY} }
      remote { auth = psk
        id = *.homes.example }
      children {
        net {
          local_ts = ::/0
          remote_ts = dynamic,${INNER}
          esp_proposals = aes256gcm16
        }
      }
    }
  }
  pools {
    inner { addrs = ${INNER} }
  }
  ${SECRETS}
`;

function homeConnection({ identity }: PlannedHome, address: string): string {
  const name = identity.replaceAll(".", "-");
  return `
    ${name} {
      version = 2
      proposals = aes256gcm16-prfsha256-x25519
      remote_addrs = ${SERVER}
      encap = yes
      local { auth = psk
        id = ${identity} }
      remote { auth = psk
        id = ${IDENTITY} }
      children {
        net {
          start_action = start
          local_ts = ${address}
          remote_ts = ::/0
          esp_proposals = aes256gcm16
        }
      }
    }`;
}
