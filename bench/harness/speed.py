"""Throughput and small-packet rate over one tunnel, with the CPU it took."""
import json
import subprocess
import time

from .machine import Load, memory_of, wait_until_idle, was_taken
from .network import run

KINDS = (("tcp c->s", ()), ("tcp s->c", ("-R",)), ("udp 64 flood", ("-u", "-l", "64", "-b", "0")))
ATTEMPTS = 3            # to get an undisturbed one; a quick run takes what it gets


def iperf(peer, options, seconds, patience_s):
    """iperf3's summary of one run, and the CPU of both daemons meanwhile."""
    server = subprocess.Popen(peer.net.inside("s", "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        wait_until_idle(patience_s)
        load, cpu = Load(peer.net.pids), peer.cpu_seconds()
        result = run(*peer.net.inside("c", "iperf3", "-6", "-c", peer.server, "-J",
                                      "-t", str(seconds), *options),
                     check=False, timeout=seconds + 60)
        after, others = peer.cpu_seconds(), load.report()
    finally:
        server.kill()
        server.wait()
    out = json.loads(result.stdout)
    if "error" in out:
        raise RuntimeError(f"{peer.name}: iperf3: {out['error']}")
    percent = {f"{side}_cpu": round(100 * (after[side] - cpu[side]) / seconds) for side in cpu}
    return out["end"], dict(percent, **others)


def measure(peer, round_number, seconds, patience_s):
    """One tunnel, each kind of traffic once. Yields records."""
    try:
        peer.up()
        for what, options in KINDS:
            for _ in range(1 if peer.bench.options.quick else ATTEMPTS):
                end, cpu = iperf(peer, options, seconds, patience_s)
                record = dict(test="speed", peer=peer.name, what=what, rep=round_number, **cpu)
                if "-u" in options:
                    total = end["sum"]
                    record["offered_pps"] = round(total["packets"] / total["seconds"])
                    record["pps"] = round((total["packets"] - total["lost_packets"])
                                          / total["seconds"])
                else:
                    record["mbps"] = round(end["sum_received"]["bits_per_second"] / 1e6)
                    record["retransmits"] = end["sum_sent"].get("retransmits")
                if was_taken(record):
                    record["disturbed"] = True
                yield record
                if "disturbed" not in record:
                    break
        yield dict(test="memory after load", peer=peer.name, rep=round_number,
                   **memory_of(peer.pids))
    finally:
        peer.down()
