"""A peer is one kind of tunnel, driven by the executable bench/peers/NAME. README.md has the contract."""
import os
import shutil
import tempfile
import time

from .machine import cpu_seconds
from .network import CLIENT_IP4, DEV, SERVER_IP4, Network, run

INNER_CLIENT = "2001:db8:a::2"
INNER_SERVER = "2001:db8:a::1"
ABSENT = 3      # exit status of `check`


class Peer:
    def __init__(self, name, bench, prefix):
        self.name, self.bench, self.prefix = name, bench, prefix
        base, _, self.variant = name.partition(":")
        self.driver = os.path.join(bench.here, "peers", base)
        self.env = dict(os.environ, VARIANT=self.variant, BENCH_BUILD=bench.build)

    def check(self):
        """(version, None), or (None, why it is absent and what installs it)."""
        result = run(self.driver, "check", check=False, env=self.env)
        if result.returncode == ABSENT:
            return None, result.stderr.strip()
        if result.returncode:
            raise RuntimeError(f"{self.name} check: {result.stderr}")
        return result.stdout.strip(), None

    def call(self, command, *more, check=True):
        result = run(self.driver, command, *more, check=False, env=self.env, timeout=400)
        if check and result.returncode:
            raise RuntimeError(f"{self.name} {command}: {result.stdout}{result.stderr}")
        return result.stdout.split()

    def up(self, delay_ms=0):
        """Makes the network and the tunnel; `down` must follow, whatever happens."""
        self.state = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        self.net = Network(self.prefix, self.bench.build, delay_ms, self.bench.keep)
        ns = self.net.ns
        self.env.update(STATE=self.state, PREFIX=self.prefix,
                        CLIENT_NS=ns("c"), ROUTER_NS=ns("r"), SERVER_NS=ns("s"),
                        CLIENT_DEV=DEV, SERVER_DEV=DEV,
                        SERVER_IP4=SERVER_IP4, CLIENT_IP4=CLIENT_IP4[0],
                        INNER_CLIENT=INNER_CLIENT, INNER_SERVER=INNER_SERVER)
        self.net.__enter__()
        begin = time.monotonic()
        self.call("setup-server")
        self.call("setup-client")
        self.client, self.server = self.call("addresses")
        self._wait_for_ping()
        self.setup_s = time.monotonic() - begin
        self.pids = {side: int(pid) for side, pid in
                     (item.split("=") for item in self.call("pids"))}

    def down(self):
        if "STATE" not in self.env:
            return
        self.call("teardown", check=False)
        self.net.__exit__()
        if not self.bench.keep:
            shutil.rmtree(self.state, ignore_errors=True)

    def cpu_seconds(self):
        return {side: cpu_seconds(pid) for side, pid in self.pids.items()}

    def _wait_for_ping(self):
        for _ in range(30):
            if run(*self.net.inside("c", "ping", "-6", "-c1", "-W1", self.server),
                   check=False).returncode == 0:
                return
        log = ""
        for side in ("client", "server"):
            path = os.path.join(self.state, f"{side}.log")
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    log += f"\n{side}: " + "".join(f.readlines()[-5:])
        raise RuntimeError(f"{self.name}: no ping through the tunnel{log}")
