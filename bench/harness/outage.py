"""What a change of the client's IPv4 address does to the traffic in the tunnel. README.md, "Scenarios"."""
import os
import random
import statistics
import subprocess
import time

from .machine import Load, memory_of, was_taken
from .network import AddressChange

WINDOW_S = 30           # "never" means not within this
CALM_S = 1              # after a change no other lane may start or stop anything for so long
DISTURBED_MS = 25       # a change that took so much longer than it should: no time for us
ATTEMPTS = 4            # to get an undisturbed repetition
QUIET_S = (15, 40)      # before the change: keepalive timers in any phase
STREAM_S = (12, 22)
SETTLED_S = 10          # the first seconds are the start's


class Probe:
    def __init__(self, peer, mode, tcp=False):
        self.file = os.path.join(peer.state, "probe")
        ns = peer.net.ns
        cmd = [f"{peer.bench.build}/probe", "-m", mode, "-o", self.file,
               "-c", f"{ns('c')},{peer.client}", "-s", f"{ns('s')},{peer.server}"]
        self.proc = subprocess.Popen(cmd + ["-t"] * tcp, text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.proc.stdout.readline() != "ready\n":
            raise RuntimeError("the probe did not start")

    def tell(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()

    def start(self):
        self.tell("go")

    def wait_for_traffic(self, limit_s):
        """Whether each direction delivered, in this time, a probe sent after this call."""
        self.tell(f"wait {int(limit_s * 1000)}")
        return self.proc.stdout.readline() == "resumed\n"

    def finish(self):
        self.proc.communicate("")
        flows, tcp = {"c2s": [], "s2c": []}, None
        with open(self.file) as f:
            for line in f:
                name, *numbers = line.split()
                if name == "tcp":
                    tcp = [int(n) for n in numbers]
                else:
                    flows[name].append([int(n) for n in numbers])
        return flows, tcp

    def kill(self):
        self.proc.kill()
        self.proc.wait()


def outage_ms(probes, since):
    """From the first probe of the longest run of lost ones to the next good one, by the times they
    were sent. None: there is no next one."""
    longest, first = 0, None
    for sent, received in probes:
        if sent < since:
            continue
        if received and first:
            longest, first = max(longest, sent - first), None
        elif not received and not first:
            first = sent
    if first and probes[-1][0] - first > 0.5e9:
        return None
    return round(longest / 1e6, 1)


def longest_gap_ms(probes, since):
    """Longest time without an arrival that ends after `since`."""
    arrivals = sorted(received for _, received in probes if received)
    gaps = [b - a for a, b in zip(arrivals, arrivals[1:]) if b > since]
    return round(max(gaps, default=0) / 1e6, 1)


def phase(bounds, rep, reps):
    """A moment in `bounds`; the repetitions share the range among them."""
    low, high = bounds
    return low + (high - low) * (rep - 1 + random.random()) / reps


def idle_cpu(peer, wait_s):
    """CPU of idle daemons, in the median second, and on average: with what comes once in a while,
    such as the one garbage collection in which V8 cleans up after the start."""
    seconds, began = [], time.monotonic()
    before = start = peer.cpu_seconds()
    while (elapsed := time.monotonic() - began) < wait_s:
        time.sleep(min(1, wait_s - elapsed))
        now = peer.cpu_seconds()
        lasted = time.monotonic() - began - elapsed
        seconds.append({side: 100 * (now[side] - before[side]) / lasted for side in now})
        before = now
    lasted = time.monotonic() - began
    median = {f"idle_{side}_cpu": round(statistics.median(each[side] for each in seconds), 3) for side in start}
    mean = {f"idle_{side}_cpu_mean": round(100 * (before[side] - start[side]) / lasted, 3) for side in start}
    return median | mean


def measure(peer, scenario, delay_ms, rep, reps, gap_s, calm):
    """One repetition, from fresh namespaces and a fresh tunnel. `calm` keeps other lanes from
    starting and stopping daemons while this one is at the change. Returns a record."""
    probe = None
    try:
        with calm:
            peer.up(delay_ms)
            load = Load(peer.net.pids)
        record = dict(test="outage", peer=peer.name, scenario=scenario, gap=gap_s,
                      delay=delay_ms, rep=rep)
        active = scenario == "active"
        if scenario == "quiet":
            time.sleep(SETTLED_S)
            record.update(idle_cpu(peer, phase(QUIET_S, rep, reps) - SETTLED_S))
            record.update({f"idle_{key}": n for key, n in memory_of(peer.pids).items()})
        probe = Probe(peer, "both" if active else "s2c", tcp=active)
        if scenario != "quiet":
            probe.start()
            time.sleep(2 if active else phase(STREAM_S, rep, reps))
        with calm:
            change = AddressChange(peer.net)
            start, end = change(gap_s)
            if scenario == "quiet":
                probe.start()           # the server speaks first
            hook = subprocess.Popen((peer.driver, "hook"), env=peer.env)
            resumed = probe.wait_for_traffic(CALM_S)
        if not resumed:
            probe.wait_for_traffic(WINDOW_S - CALM_S)
        time.sleep(2 if active else 1)
        hook.wait()
        flows, tcp = probe.finish()
        record.update(change_ms=round((end - start) / 1e6, 1), **load.report())
        edge = start - int((delay_ms + 50) * 1e6)   # sent before: may have been in flight
        for name, probes in flows.items():
            if not probes:
                continue
            record[f"{name}_ms"] = outage_ms(probes, edge)
            record[f"{name}_gap_ms"] = longest_gap_ms(probes, start)
            record[f"{name}_lost"] = sum(1 for sent, got in probes if sent >= edge and not got)
            record[f"{name}_lost_before"] = sum(1 for sent, got in probes if sent < edge and not got)
        if tcp:
            sent, echoed, longest, error = tcp
            record["tcp_survived"] = error == 0 and echoed == sent
            record["tcp_ms"] = round(longest / 1e6, 1)
        # The other scenarios share the machine, and a few milliseconds matter less there.
        if record["change_ms"] > 1000 * gap_s + DISTURBED_MS or (active and was_taken(record)):
            record["disturbed"] = True
        return record
    finally:
        if probe:
            probe.kill()
        with calm:
            peer.down()
