"""A server with many homes: start, memory, and what one advertisement costs.

"simulated" is server-scale.ts: everything real but the kernel and ESP. "daemon" is the real one in
a namespace, with an interface for each home, hearing advertisements through ESP in UDP 4500."""
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from .machine import cpu_seconds, memory_of, wait_until_idle
from .network import Network, run

SIMULATED = (10, 1_000, 10_000)
DAEMON = (10, 1_000)    # 10,000 interfaces take the kernel minutes to make and as long to remove
REPS = 3                # of what is simulated
SENT = 10_000           # advertisements at a steady rate, for their cost
RATE = 1_000            # a second
FLOOD = 10_000          # and as many as fast as the server confirms them
START_LIMIT_S = 300
ADDRESSES = "198.18.0.0/15"     # where the homes are: the network for benchmarks, RFC 2544


def measurements(bench):
    """Functions, each yielding records."""
    for _ in range(1 if bench.options.quick else REPS):
        for homes in SIMULATED:
            yield functools.partial(simulated, bench, homes)
    for homes in bench.options.homes or DAEMON:
        yield functools.partial(daemon, bench, homes)


def node(bench, *args):
    root = os.path.dirname(bench.here)
    return ("node", "--expose-gc", "--import", os.path.join(root, "node_modules/tsx/dist/esm/index.mjs"),
            os.path.join(bench.here, args[0]), *map(str, args[1:]))


def simulated(bench, homes):
    directory = tempfile.mkdtemp(prefix="htb-scale-")
    try:
        wait_until_idle(bench.options.patience)
        out = run(*node(bench, "server-scale.ts", homes, directory), timeout=300).stdout
        yield dict(test="scale", how="simulated", **json.loads(out))
    finally:
        shutil.rmtree(directory)


def daemon(bench, homes):
    directory = tempfile.mkdtemp(prefix="htb-scale-")
    dist = os.path.join(os.path.dirname(bench.here), "dist", "server", "main.js")
    processes = []
    try:
        with Network("htb-0", bench.build, keep=bench.keep) as net:
            net.ip("r", f"route add {ADDRESSES} via 198.51.100.10")
            net.ip("c", f"route add local {ADDRESSES} dev lo")
            run(*node(bench, "advertise.ts", "write", directory, homes), timeout=120)
            wait_until_idle(bench.options.patience)
            log, report = os.path.join(directory, "log"), os.path.join(directory, "heap")
            began = time.monotonic()
            with open(log, "w") as f:
                server = subprocess.Popen(
                    net.inside("s", "node", "--expose-gc", "--import", os.path.join(bench.here, "heap-report.mjs"),
                               dist, "run", "--config", os.path.join(directory, "server.toml")),
                    stdout=f, stderr=f, env=dict(os.environ, HEAP_REPORT=report))
            processes.append(server)
            wait_for_ready(server, log)
            start_ms = round(1000 * (time.monotonic() - began))
            homes_player = subprocess.Popen(net.inside("c", *node(bench, "advertise.ts", "play", directory)),
                                            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            processes.append(homes_player)
            if homes_player.stdout.readline() != "ready\n":
                raise RuntimeError("the homes did not start")
            play(homes_player, max(homes, 5_000), 0)                # every home moves once; the code is warm
            wait_until_idle(bench.options.patience)
            before, cpu = accepted(dist, directory), cpu_seconds(server.pid)
            play(homes_player, SENT, RATE)
            cpu = cpu_seconds(server.pid) - cpu
            steady = accepted(dist, directory)
            flood = play(homes_player, FLOOD, 0)
            flooded = accepted(dist, directory)
            heap, buffers = heap_of(server.pid, report)
            record = dict(test="scale", how="daemon", homes=homes, start_ms=start_ms,
                          cpu_us=round(1e6 * cpu / (steady - before), 1),
                          accepted=flooded - before, sent=SENT + flood["sent"],
                          accepted_per_s=round((flooded - steady) / flood["seconds"]),
                          heap=heap, buffers=buffers, rss_mb=round(memory_of(dict(server=server.pid))["server_rss_kb"] / 1024))
            if record["accepted"] < 0.99 * record["sent"]:
                record["disturbed"] = True      # packets were lost: the server had too little of the CPU
            if homes < 1_000:
                bench.heap_of_few = heap, buffers
            elif bench.heap_of_few:
                record["heap_per_home"] = round((heap - bench.heap_of_few[0]) / homes)
                record["buffers_per_home"] = round((buffers - bench.heap_of_few[1]) / homes)
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            server.wait(START_LIMIT_S)
            record["stop_ms"] = round(1000 * (time.monotonic() - began))
            yield record
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_ready(server, log):
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and server.poll() is None:
        with open(log) as f:
            if '"msg":"ready"' in f.read():
                return
        time.sleep(0.01)
    with open(log) as f:
        raise RuntimeError(f"the server did not start: {f.read()[-1000:]}")


def play(homes, count, rate):
    homes.stdin.write(f"send {count} {rate}\n")
    homes.stdin.flush()
    result = json.loads(homes.stdout.readline())
    if result["answered"] == 0:
        raise RuntimeError("the server answered no advertisement")
    return result


def accepted(dist, directory):
    """Advertisements that the server has accepted so far, of all homes."""
    with tempfile.TemporaryFile("w+") as f:
        socket = os.path.join(directory, "server.sock")
        subprocess.run(("node", dist, "status", "--json", "--socket", socket), check=True, stdout=f)
        f.seek(0)
        return sum(home["advertisements"]["accepted"] for home in json.load(f)["homes"])


def heap_of(pid, report):
    os.kill(pid, signal.SIGURG)
    for _ in range(500):
        time.sleep(0.01)
        if os.path.exists(report):
            with open(report) as f:
                usage = json.load(f)
            return usage["heapUsed"], usage["arrayBuffers"]
    raise RuntimeError("the server did not report its heap")
