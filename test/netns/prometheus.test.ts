/**
 * A real Prometheus scrapes a real server, with the configuration and the alerts of docs/monitoring.md, and is asked
 * what the dashboard asks.
 */

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  canUseNamespaces,
  eventually,
  type Namespace,
  type Running,
} from "../support/namespace.ts";
import { daemonsAreBuilt, TunnelLab } from "../support/tunnel-lab.ts";

const DOCS = resolve(import.meta.dirname, "../../docs");
const PROMETHEUS = "127.0.0.1:9090";
const SCRAPES = 4;
const PATIENCE_MS = 30_000;

const READ_ALL = `
  const read = (url) => fetch(url).then((answer) => answer.text()).catch(() => "{}");
  Promise.all(JSON.parse(process.argv[1]).map(read)).then((texts) => process.stdout.write(JSON.stringify(texts)));`;

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

interface Answer<T> {
  readonly status: string;
  readonly error?: string;
  readonly data: T;
}

type Vector = { readonly result: readonly { readonly value: readonly [number, string] }[] };
type Rules = {
  readonly groups: readonly {
    readonly rules: readonly { readonly name: string; readonly health: string }[];
  }[];
};

function hasPrometheus(): boolean {
  const found = spawnSync("prometheus", ["--version"]).error === undefined;
  if (!found) process.stderr.write("skipped: prometheus is not installed\n");
  return found;
}

/** The fenced block of the guide that begins with this line. */
function guideBlock(first: string): string {
  const guide = readFileSync(join(DOCS, "monitoring.md"), "utf8");
  const [, block] = guide.split(`\`\`\`yaml\n${first}\n`);
  return `${first}\n${block?.split("```")[0] ?? expect.fail(`no ${first}`)}`;
}

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt() || !hasPrometheus())("Prometheus", () => {
  let lab: TunnelLab;
  let isp: Namespace;
  let prometheus: Running;

  const readAll = async (urls: readonly string[]): Promise<string[]> =>
    JSON.parse(await isp.run([process.execPath, "-e", READ_ALL, JSON.stringify(urls)]));
  const askAll = async <T>(paths: readonly string[]): Promise<Answer<T>[]> => {
    const texts = await readAll(paths.map((path) => `http://${PROMETHEUS}/api/v1/${path}`));
    return texts.map((text) => JSON.parse(text));
  };
  const queryAll = async (expressions: readonly string[]) =>
    await askAll<Vector>(expressions.map((each) => `query?query=${encodeURIComponent(each)}`));

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [{ name: "alice", ikev2: "psk" }, { name: "bob" }],
      server: 'metrics = "127.0.0.1:9436"',
    });
    isp = lab.serverNamespace;
    const alice = lab.home("alice");
    await lab.server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
    await lab.confirmed(alice, await alice.take(8));
    await alice.reachesFar();

    const scraping = guideBlock("scrape_configs:").replace(
      /scrape_interval: \w+/,
      "scrape_interval: 1s",
    );
    const config = join(lab.directory, "prometheus.yml");
    writeFileSync(join(lab.directory, "alerts.yml"), guideBlock("groups:"));
    writeFileSync(
      config,
      `global: { evaluation_interval: 1s }\nrule_files: [alerts.yml]\n${scraping}`,
    );
    prometheus = isp.spawn([
      "prometheus",
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(lab.directory, "tsdb")}`,
      `--web.listen-address=${PROMETHEUS}`,
    ]);
    await eventually(async () => {
      const [answer] = await queryAll(['count_over_time(up{job="hometun"}[1m])']);
      return Number(answer?.data?.result[0]?.value[1]) >= SCRAPES ? true : undefined;
    }, PATIENCE_MS);
  });

  afterAll(async () => {
    await prometheus?.stop();
    await lab?.dispose();
  });

  it("finds what each panel of the dashboard shows", async () => {
    const text = readFileSync(join(DOCS, "grafana/hometun-server.json"), "utf8");
    const { panels } = JSON.parse(text) as Dashboard;
    const asked = panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => ({ title, expr })),
    );
    expect(asked.length).toBeGreaterThan(30);
    const answers = await queryAll(
      asked.map(({ expr }) =>
        expr
          .replaceAll("$instance", ".*")
          .replaceAll("$home", "alice")
          .replaceAll("$__rate_interval", "10s"),
      ),
    );
    const empty = answers.flatMap(({ error, data }, index) => {
      const panel = asked[index];
      expect({ panel, error }).toEqual({ panel, error: undefined });
      // Refusals are there from the first one on, and what is compared with zero when it is more.
      const mayBeEmpty = /refused|> 0/.test(panel?.expr ?? "");
      return data.result.length === 0 && !mayBeEmpty ? [panel] : [];
    });
    expect(empty).toEqual([]);
  });

  it("evaluates every alert of the guide, and raises none", async () => {
    const [rules] = await askAll<Rules>(["rules"]);
    const all = rules?.data.groups.flatMap((group) => group.rules) ?? [];
    expect(all.length).toBeGreaterThan(8);
    expect(all.filter(({ health }) => health !== "ok")).toEqual([]);
    const [alerts] = await askAll<{ alerts: readonly unknown[] }>(["alerts"]);
    expect(alerts?.data.alerts).toEqual([]);
  });
});
