#!/usr/bin/env python3
"""npm run bench: hometun beside wireguard-go, strongSwan and OpenVPN, in one run on one machine.

  npm run bench                  everything, about 37 minutes
  npm run bench -- outage        what a change of the client's IPv4 address does
  npm run bench -- speed         throughput, small packets, CPU
  npm run bench -- scale         a server with many homes
  npm run bench -- quick         one repetition of each, about 6 minutes: is all well?

As root. Everything happens in network namespaces that it makes and removes. Results are JSON lines
in bench/results and, of a whole run, the table in docs/benchmarks.md. bench/README.md says what is
measured, and how a peer is added.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback

from harness import outage, report, scale, speed
from harness.machine import describe_machine, wait_until_idle
from harness.network import run
from harness.peer import Peer

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("outage", "speed", "scale")
OURS = ("hometun:udp", "hometun:esp")
OUTAGE_PEERS = OURS + ("wireguard", "wireguard:new", "wireguard:new+keepalive", "strongswan", "openvpn")
SPEED_PEERS = ("none",) + OURS + ("wireguard", "wireguard:new")
SCENARIOS = ("active", "stream", "quiet")
DELAYS_MS = (0, 20)
# Measurements at a time: `active` needs the machine, `quiet` is nearly all waiting.
LANES = {"active": 1, "stream": 2, "quiet": 5}
NEEDS = {"cc": "gcc libc6-dev", "iperf3": "iperf3", "ip": "iproute2", "ping": "iputils-ping",
         "sysctl": "procps"}
# Seconds that one repetition takes, for the forecast; a peer that never recovers adds its window.
COST_S = {"active": 9, "stream": 22, "quiet": 34, "never": outage.WINDOW_S, "speed": 26, "scale": 180}
NEVER = {("quiet", "wireguard"), ("quiet", "wireguard:new"), ("stream", "wireguard")}
WIREGUARD_WAKES_S = 15  # Debian 12's, in scenario active


class Bench:
    """One run: where its files are, what it has written, and its lines on the terminal."""

    def __init__(self, options):
        self.here, self.build = HERE, os.path.join(HERE, ".build")
        self.keep, self.options = options.keep, options
        os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
        self.path = os.path.join(HERE, "results", time.strftime("%Y%m%d-%H%M%S.jsonl"))
        self.lock, self.calm = threading.Lock(), threading.Lock()
        self.stopped = False
        self.heap_of_few = None         # octets, of a server with few homes
        self.started, self.done, self.total, self.failures = time.monotonic(), 0, 0, 0

    def save(self, **record):
        record["at"] = time.strftime("%H:%M:%S")
        with self.lock, open(self.path, "a") as f:
            f.write(json.dumps(record) + "\n")

    def say(self, line):
        with self.lock:
            print(line, flush=True)

    def step(self, text, cost_s):
        with self.lock:
            self.done += cost_s
            share = min(1, self.done / max(self.total, 1))
            print(f"{time.strftime('%H:%M:%S')} {share:4.0%}  {text}", flush=True)

    def failed(self, what):
        self.failures += 1
        self.save(test="failure", what=what, reason=traceback.format_exc(limit=3))
        self.say(f"{time.strftime('%H:%M:%S')} FAILED {what}: {sys.exc_info()[1]}")

    def compile_tools(self):
        os.makedirs(self.build, exist_ok=True)
        for tool in ("probe", "wire"):
            source, program = os.path.join(HERE, "tools", f"{tool}.c"), os.path.join(self.build, tool)
            if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
                run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, source)


# ---- outage ----------------------------------------------------------------

def outage_jobs(options, peers):
    """(scenario, delay, peer, rep, reps), the peers taking turns: a run cut short has some of everything."""
    usual = {delay: 1 if options.quick else 3 if delay else 5 for delay in options.delays}
    for rep in range(1, (options.reps or max(usual.values())) + 1):
        for delay in options.delays:
            reps = options.reps or usual[delay]
            for scenario in options.scenarios:
                for peer in peers:
                    if rep <= reps and (scenario == "quiet" or "keepalive" not in peer):
                        yield scenario, delay, peer, rep, reps


def outage_cost(job):
    scenario, _, peer, _, _ = job
    extra = COST_S["never"] if (scenario, peer) in NEVER else 0
    return COST_S[scenario] + extra + (WIREGUARD_WAKES_S if (scenario, peer) == ("active", "wireguard") else 0)


def outage_groups(jobs):
    """The scenarios' jobs, one scenario after the other, and how many seconds they take."""
    for scenario in SCENARIOS:
        mine = [job for job in jobs if job[0] == scenario]
        yield scenario, mine, sum(map(outage_cost, mine)) / LANES[scenario]


def run_outage(bench, jobs):
    for scenario, mine, _ in outage_groups(jobs):
        share = 1 / LANES[scenario]
        lanes = [threading.Thread(target=run_lane, args=(bench, mine, f"htb-{scenario[0]}{n}", share))
                 for n in range(LANES[scenario])]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()


def run_lane(bench, jobs, prefix, share):
    """Takes jobs until there are none; `share` is what a second of a job is of the run's."""
    while True:
        with bench.lock:
            if not jobs or bench.stopped:
                return
            job = jobs.pop(0)
        scenario, delay, name, rep, reps = job
        what = f"{scenario:<7} {delay:>2g} ms  {name:<24} {rep}/{reps}"
        try:
            for _ in range(1 if bench.options.quick else outage.ATTEMPTS):
                if scenario == "active":
                    wait_until_idle(bench.options.patience)
                record = outage.measure(Peer(name, bench, prefix), scenario, delay, rep, reps,
                                        bench.options.gap, bench.calm)
                bench.save(**record)
                if "disturbed" not in record:
                    break
            bench.step(f"{what}  {report.outage_line(record)}", outage_cost(job) * share)
        except Exception:
            bench.failed(what)


# ---- speed and scale -------------------------------------------------------

def run_speed(bench, peers, rounds):
    for number in range(1, rounds + 1):
        turn = number % len(peers)
        for name in peers[turn:] + peers[:turn]:
            what = f"speed {name:<24} {number}/{rounds}"
            try:
                lines = []
                for record in speed.measure(Peer(name, bench, "htb-0"), number,
                                            bench.options.seconds, bench.options.patience):
                    bench.save(**record)
                    lines.append(report.speed_line(record))
                bench.step(f"{what}  {', '.join(filter(None, lines))}", speed_cost(bench.options))
            except Exception:
                bench.failed(what)


def speed_cost(options):
    return COST_S["speed"] + 3 * (options.seconds - 5)


def run_scale(bench):
    measurements = list(scale.measurements(bench))
    for measure in measurements:
        try:
            for record in measure():
                bench.save(**record)
                bench.step(report.scale_line(record), COST_S["scale"] / len(measurements))
        except Exception:
            bench.failed("scale")


# ---- the whole -------------------------------------------------------------

def present_peers(bench, wanted):
    """Those that can run here; the others are reported with what installs them."""
    present = []
    for name in wanted:
        version, reason = Peer(name, bench, "htb-0").check()
        bench.save(test="peer", peer=name, version=version, absent=reason)
        if reason:
            bench.say(f"absent: {name} ({reason})")
        else:
            present.append(name)
    return present


def main():
    p = argparse.ArgumentParser(prog="npm run bench --", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("group", nargs="*", help="default: outage, speed and scale")
    p.add_argument("--peers", type=lambda text: text.split(","), metavar="NAME,...",
                   help="instead of the usual ones")
    p.add_argument("--scenarios", type=lambda text: text.split(","), default=SCENARIOS, metavar="NAME,...")
    p.add_argument("--delays", type=lambda text: [float(n) for n in text.split(",")],
                   metavar="MS,...", help="one-way delays")
    p.add_argument("--gap", type=float, default=0, help="seconds without an address at the change")
    p.add_argument("--reps", type=int, help="of each outage measurement")
    p.add_argument("--rounds", type=int, help="of speed")
    p.add_argument("--seconds", type=int, default=5, help="length of one speed run")
    p.add_argument("--patience", type=float, default=20,
                   help="seconds to wait for an idle machine before a speed run")
    p.add_argument("--homes", type=lambda text: [int(n) for n in text.split(",")], metavar="N,...",
                   help="of the real server in scale")
    p.add_argument("--publish", action="store_true",
                   help="write the table into docs/benchmarks.md though the run is not whole")
    p.add_argument("--preliminary", action="store_true", help="mark the table as preliminary")
    p.add_argument("--keep", action="store_true", help="leave state and namespaces behind")
    p.add_argument("--report", metavar="FILE", help="no run: the table of these results")
    options = p.parse_args()
    if options.report:
        print(report.markdown(report.read(options.report), options.preliminary))
        return 0
    for group in options.group:
        if group not in GROUPS + ("quick",):
            p.error(f"there is no {group}: {', '.join(GROUPS)}, quick")
    options.quick = "quick" in options.group
    options.delays = options.delays or (DELAYS_MS[:1] if options.quick else DELAYS_MS)
    groups = [g for g in GROUPS if g in options.group] or list(GROUPS)
    if os.geteuid() != 0:
        print("npm run bench needs root: it makes network namespaces and tunnels", file=sys.stderr)
        return 1
    missing = [package for program, package in NEEDS.items() if not shutil.which(program)]
    if missing:
        print(f"missing programs: apt-get install --no-install-recommends {' '.join(missing)}", file=sys.stderr)
        return 1

    bench = Bench(options)
    bench.compile_tools()
    bench.save(test="machine", date=time.strftime("%Y-%m-%d %H:%M %Z"),
               command="npm run bench" + "".join(f" {a}" for a in (["--"] + sys.argv[1:] if sys.argv[1:] else [])),
               commit=run("git", "-C", HERE, "rev-parse", "--short", "HEAD", check=False).stdout.strip(),
               **describe_machine(run))
    usual = dict(outage=OUTAGE_PEERS, speed=SPEED_PEERS, scale=())
    wanted = options.peers or list(dict.fromkeys(name for g in groups for name in usual[g]))
    present = present_peers(bench, wanted)
    jobs = list(outage_jobs(options, [n for n in present if options.peers or n in OUTAGE_PEERS])) \
        if "outage" in groups else []
    racers = [n for n in present if options.peers or n in SPEED_PEERS]
    rounds = options.rounds or (1 if options.quick else 3)
    bench.total = sum(seconds for _, _, seconds in outage_groups(jobs))
    bench.total += speed_cost(options) * rounds * len(racers) if "speed" in groups else 0
    bench.total += COST_S["scale"] if "scale" in groups else 0
    bench.say(f"about {bench.total / 60:.0f} minutes on a quiet machine; results: {os.path.relpath(bench.path)}")

    try:
        if "speed" in groups:
            run_speed(bench, racers, rounds)
        if "scale" in groups:
            run_scale(bench)
        if "outage" in groups:
            run_outage(bench, jobs)
    except KeyboardInterrupt:
        bench.stopped = True            # the lanes finish what they are at, and clean up
        bench.say("interrupted; the table has what there is")
    bench.save(test="end", minutes=round((time.monotonic() - bench.started) / 60, 1))
    table = report.markdown(report.read(bench.path), options.preliminary)
    print("\n" + table)
    whole = not (options.group or options.peers)
    if whole or options.publish:
        report.publish(table, os.path.join(HERE, "..", "docs", "benchmarks.md"))
        print("written into docs/benchmarks.md", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
