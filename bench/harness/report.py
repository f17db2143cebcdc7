"""From the JSON lines of a run to lines on a terminal, and to the Markdown of docs/benchmarks.md."""
import json
import os

from .machine import TAKEN_CPU

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
NEVER = float("inf")
IDLE_CPU = 0.1          # percent of a core; less is "no measurable CPU"
SAME = 1.25             # a cost that grows by less from 10 homes to 10,000 is the same
PEER_ORDER = ("none", "hometun", "wireguard", "strongswan", "openvpn")


def read(path):
    with open(path) as f:
        return [json.loads(text) for text in f]


# ---- lines on the terminal -------------------------------------------------

def outage_line(record):
    parts = []
    for key, name in (("c2s_ms", "home->server"), ("s2c_ms", "server->home")):
        if key in record:
            parts.append(f"{name} " + ("never" if record[key] is None else f"{record[key]:g} ms"))
    if "tcp_survived" in record:
        parts.append("TCP survived" if record["tcp_survived"] else "TCP LOST")
    if "idle_client_cpu" in record:
        parts.append(f"idle client {record['idle_client_rss_kb'] / 1024:.0f} MB,"
                     f" {record['idle_client_cpu']:g} % CPU")
    return ", ".join(parts) + (" (disturbed)" if record.get("disturbed") else "")


def speed_line(record):
    mark = "*" if record.get("disturbed") else ""
    if "mbps" in record:
        return f"{record['what'][4:]} {record['mbps']} Mbit/s{mark}"
    return f"{record['pps']} packets/s{mark}" if "pps" in record else ""


def scale_line(record):
    names = ("homes", "start_ms", "cpu_us", "accepted_per_s", "heap_per_home", "buffers_per_home", "rss_mb")
    facts = ", ".join(f"{key} {record[key]:g}" for key in names if record.get(key) is not None)
    lost = f", only {record['accepted']} of {record['sent']} accepted" if record.get("disturbed") else ""
    return f"scale   {record['how']}: {facts}{lost}"


# ---- figures ---------------------------------------------------------------

def median(values):
    values = sorted(NEVER if v is None else v for v in values)
    middle = values[(len(values) - 1) // 2:len(values) // 2 + 1]
    return sum(middle) / len(middle)


def number(value, digits=0):
    return "never" if value == NEVER else f"{value:,.{digits}f}"


def spread(rows, key, digits=0):
    """`median (least–most)`."""
    values = [NEVER if r[key] is None else r[key] for r in rows if key in r]
    if not values:
        return "–"
    middle, low, high = (number(v, digits) for v in (median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def by(rows, *keys):
    found = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in keys), []).append(row)
    return found


def peer_rank(name):
    base = name.partition(":")[0]
    return PEER_ORDER.index(base) if base in PEER_ORDER else len(PEER_ORDER), len(name), name


def undisturbed(rows):
    """What was measured in calm; only if there is nothing else, what was not."""
    return [r for r in rows if not r.get("disturbed")] or rows


def survival(runs):
    """Of the disturbed ones too: to live has nothing to do with the clock."""
    return f"{sum(r['tcp_survived'] for r in runs)}/{len(runs)}"


def table(heads, lines):
    numeric = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [heads, numeric, *lines])


# ---- the document ----------------------------------------------------------

def markdown(rows, preliminary=False):
    parts = [header(rows, preliminary)]
    goal_lines = goals(rows)
    if goal_lines:
        parts += ["### Goals", table(("goal", "figure", "wanted", "reached"), goal_lines)]
    parts += outage_tables(rows) + speed_tables(rows) + idle_table(rows) + scale_table(rows)
    failures = [r for r in rows if r["test"] == "failure"]
    if failures:
        parts.append("### Failed measurements\n\n" + "\n".join(
            f"- {r['what']}: `{r['reason'].strip().splitlines()[-1]}`" for r in failures))
    return "\n\n".join(parts) + "\n"


def header(rows, preliminary):
    machine = next((r for r in rows if r["test"] == "machine"), {})
    minutes = next((f", {r['minutes']:g} minutes" for r in rows if r["test"] == "end"), "")
    peers = [r for r in rows if r["test"] == "peer"]
    versions = ", ".join(f"{r['peer']}: {r['version']}" for r in peers if r["version"])
    absent = "".join(f"\n- absent: {r['peer']}, {r['absent']}" for r in peers if r["absent"])
    note = ("**Preliminary: few repetitions, or a machine that had other work at the same time.**\n\n"
            if preliminary else "")
    return (f"{note}- command: `{machine.get('command')}`, {machine.get('date')}{minutes},"
            f" commit {machine.get('commit')}\n"
            f"- machine: {machine.get('cores')} cores ({machine.get('cpu')}), {machine.get('memory_gb')} GiB,"
            f" Linux {machine.get('kernel')}, Node {machine.get('node')}\n"
            f"- versions: {versions}{absent}\n"
            "- figures: median (least–most) over the repetitions; CPU 100 = one core"
            f"{left_out(rows)}")


def left_out(rows):
    """How many repetitions do not count, and why."""
    active = [r for r in rows if r["test"] == "outage" and r["scenario"] == "active"]
    disturbed = [r for r in active if r.get("disturbed")]
    if not disturbed:
        return ""
    return (f"\n- {len(disturbed)} of {len(active)} repetitions of `active`, of all peers, are left out: others or the"
            f" hypervisor took more than {TAKEN_CPU} % of a core meanwhile, or the change itself too long"
            " (TCP must survive in them too)")


def outage_tables(rows):
    parts = []
    rows = [r for r in rows if r["test"] == "outage"]
    titles = dict(active="both ends send", stream="only the server sends", quiet="nobody sends")
    for scenario, title in titles.items():
        for (delay,), group in sorted(by([r for r in rows if r["scenario"] == scenario], "delay").items()):
            gap = max(r["gap"] for r in group)
            heads = ["peer", "n", "server→home, ms"]
            if scenario == "active":
                heads = ["peer", "n", "home→server, ms", "server→home, ms", "TCP survived", "TCP's longest pause, ms"]
            lines = []
            for (peer,), all_runs in sorted(by(group, "peer").items(), key=lambda item: peer_rank(item[0][0])):
                runs = undisturbed(all_runs)
                cells = [peer, len(runs), spread(runs, "s2c_ms", 1)]
                if scenario == "active":
                    cells = [peer, len(runs), spread(runs, "c2s_ms", 1), spread(runs, "s2c_ms", 1),
                             survival(all_runs), spread(runs, "tcp_ms")]
                lines.append(cells)
            pause = f", {gap:g} s without an address" if gap else ""
            parts += [f"### Outage, {scenario}: {title}; {delay:g} ms one-way delay{pause}", table(heads, lines)]
    return parts


def speed_tables(rows):
    parts = []
    rows = [r for r in rows if r["test"] == "speed"]
    titles = {"tcp c->s": "TCP, home→server", "tcp s->c": "TCP, server→home",
              "udp 64 flood": "Small packets: 64 octets of UDP, home→server, as fast as iperf3 can"}
    for what, title in titles.items():
        group = by([r for r in rows if r["what"] == what], "peer")
        if not group:
            continue
        key, unit = ("mbps", "Mbit/s") if what.startswith("tcp") else ("pps", "packets/s received")
        lines = []
        for (peer,), all_runs in sorted(group.items(), key=lambda item: peer_rank(item[0][0])):
            runs = undisturbed(all_runs)
            lines.append((peer, len(runs), *(spread(runs, k) for k in (
                key, "client_cpu", "server_cpu", "machine_cpu", "foreign_cpu"))))
        parts += [f"### {title}", table(("peer", "n", unit, "client's CPU", "server's CPU", "machine's CPU",
                                         "other users' CPU"), lines)]
    return parts


def idle_table(rows):
    idle = by([r for r in rows if r["test"] == "outage" and "idle_client_rss_kb" in r], "peer")
    loaded = by([r for r in rows if r["test"] == "memory after load" and "client_rss_kb" in r], "peer")
    lines = []
    for peer in sorted({p for (p,) in idle} | {p for (p,) in loaded}, key=peer_rank):
        quiet, busy = idle.get((peer,), []), loaded.get((peer,), [])
        megabytes = lambda runs, key: spread([{key: r[key] / 1024} for r in runs if key in r], key)
        lines.append((peer, megabytes(quiet, "idle_client_rss_kb"), megabytes(quiet, "idle_server_rss_kb"),
                      spread(quiet, "idle_client_cpu", 3), spread(quiet, "idle_client_cpu_mean", 3),
                      spread(quiet, "idle_server_cpu", 3), spread(quiet, "idle_server_cpu_mean", 3),
                      megabytes(busy, "client_rss_kb"), megabytes(busy, "server_rss_kb")))
    if not lines:
        return []
    return ["### Memory (RSS, MB) and CPU of the daemons, one tunnel",
            table(("peer", "client, idle", "server, idle", "client's CPU, idle: median second",
                   "mean", "server's: median second", "mean", "client, after speed", "server, after speed"), lines)]


def scale_table(rows):
    rows = [r for r in rows if r["test"] == "scale"]
    if not rows:
        return []
    lines = []
    for (how, homes), runs in sorted(by(rows, "how", "homes").items(), key=lambda item: (item[0][0] == "daemon", item[0][1])):
        note = " (disturbed)" if any(r.get("disturbed") for r in runs) else ""
        lines.append((how + note, f"{homes:,}", spread(runs, "start_ms"), spread(runs, "cpu_us", 1),
                      spread(runs, "accepted_per_s"), spread(runs, "heap_per_home"), spread(runs, "buffers_per_home"), spread(runs, "rss_mb")))
    return ["### A server with many homes", table((
        "how", "homes", "start, ms", "CPU of one advertisement, µs", "accepted/s", "heap per home, octets",
        "buffers per home, octets", "RSS, MB"), lines)]


# ---- what it must reach ----------------------------------------------------

def goals(rows):
    lines = []

    def goal(text, value, wanted, reached, digits=1):
        lines.append((text, number(value, digits), wanted, "yes" if reached else "**no**"))

    outages = by([r for r in rows if r["test"] == "outage" and not r["gap"]
                  and r["peer"].startswith("hometun")], "scenario", "delay", "peer")
    for (scenario, delay, peer), all_runs in sorted(outages.items()):
        runs = undisturbed(all_runs)
        where = f"{peer}, {scenario}, {delay:g} ms"
        trip = 2 * delay
        if scenario == "active":
            value = median([r["c2s_ms"] for r in runs])
            goal(f"{where}: outage home→server", value, "≤ 2 ms", value <= 2)
            value = median([r["s2c_ms"] for r in runs])
            goal(f"{where}: outage server→home", value, f"≤ 3 ms + {trip:g} ms", value <= 3 + trip)
            lines.append((f"{where}: TCP survives", survival(all_runs), "always",
                          "yes" if all(r["tcp_survived"] for r in all_runs) else "**no**"))
        else:
            value = median([r["s2c_ms"] for r in runs])
            goal(f"{where}: outage server→home", value, f"≤ 5 ms + {trip:g} ms", value <= 5 + trip)
    speeds = by([r for r in rows if r["test"] == "speed" and "mbps" in r], "what", "peer")
    for ours, theirs, factor in (("hometun:udp", "wireguard:new", 1.2), ("hometun:esp", "wireguard", 1.5)):
        for what in ("tcp c->s", "tcp s->c"):
            if (what, ours) in speeds and (what, theirs) in speeds:
                a, b = (median([r["mbps"] for r in undisturbed(speeds[what, p])]) for p in (ours, theirs))
                goal(f"{what.replace('->', '→')}: {ours} / {theirs}", a / b, f"≥ {factor}", a / b >= factor, 2)
    lines += scale_goals(rows, goal) or []
    idle = [r for r in rows if r["test"] == "outage" and r["peer"].startswith("hometun") and "idle_client_rss_kb" in r]
    if idle:
        value = median([r["idle_client_rss_kb"] / 1024 for r in idle])
        goal("client idle: RSS, MB", value, "≤ 90 MB", value <= 90)
        value = median([r["idle_client_cpu"] for r in idle])
        goal("client idle: CPU in the median second, % of a core", value, f"not measurable (< {IDLE_CPU})", value < IDLE_CPU, 3)
    return lines


def scale_goals(rows, goal):
    simulated = {homes: runs for (how, homes), runs in by(
        [r for r in rows if r["test"] == "scale"], "how", "homes").items() if how == "simulated"}
    for homes, runs in sorted(simulated.items()):
        value = median([r["cpu_us"] for r in runs])
        goal(f"one advertisement, {homes:,} homes: µs of CPU", value, "< 100", value < 100)
    if 10 in simulated and 10_000 in simulated:
        value = median([r["cpu_us"] for r in simulated[10_000]]) / median([r["cpu_us"] for r in simulated[10]])
        goal("the same at 10,000 homes as at 10: ratio", value, f"≤ {SAME}", value <= SAME, 2)
    for (how, homes), runs in sorted(by([r for r in rows if r["test"] == "scale" and r.get("heap_per_home")],
                                        "how", "homes").items()):
        value = median([r["heap_per_home"] for r in runs])
        goal(f"heap per home, {how}, {homes:,} homes: octets", value, "≤ 8,192", value <= 8192, 0)


def publish(text, path):
    """Between the marks in the document; what else stands there stays."""
    with open(path) as f:
        before, _, rest = f.read().partition(BEGIN)
    after = rest.partition(END)[2]
    temporary = path + ".new"
    with open(temporary, "w") as f:
        f.write(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    os.replace(temporary, path)
