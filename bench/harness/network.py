"""The network of every measurement, in namespaces that it makes and removes:

    client ns            router ns                        server ns
    up0 198.51.100.10 -- down0 .1 | isp0 203.0.113.254 -- up0 203.0.113.1
                                             ^ a wire with delay, in a namespace of its own
"""
import contextlib
import os
import signal
import subprocess
import time

SERVER_IP4 = "203.0.113.1"
ISP_IP4 = "203.0.113.254"
CLIENT_IP4 = ("198.51.100.10", "198.51.100.77")     # before the change, after it
GATEWAY_IP4 = "198.51.100.1"
DEV = "up0"                                         # uplink in client and server
SETTINGS = ("ipv6.conf.default.accept_ra=0", "ipv6.conf.default.router_solicitations=0",
            "ipv6.conf.default.accept_dad=0",
            "ipv4.conf.all.rp_filter=0", "ipv4.conf.default.rp_filter=0")
ROOMS = ("c", "r", "d", "s")                        # client, router, delay, server


def run(*cmd, check=True, timeout=60, **kw):
    result = subprocess.run(cmd, check=False, timeout=timeout, text=True,
                            capture_output=True, **kw)
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(cmd)}: exit status {result.returncode}: "
                           f"{result.stdout}{result.stderr}".strip())
    return result


class Network:
    """`with Network(prefix, tools, delay_ms) as net:` stands for the length of the block."""

    def __init__(self, prefix, tools, delay_ms=0, keep=False):
        self.prefix, self.tools, self.delay_ms, self.keep = prefix, tools, delay_ms, keep
        self.wire = None

    def ns(self, room):
        return f"{self.prefix}-{room}"

    def inside(self, room, *cmd):
        return ("ip", "netns", "exec", self.ns(room)) + cmd

    def ip(self, room, *lines):
        """Runs ip(8) commands in one namespace."""
        run("ip", "-n", self.ns(room), "-batch", "-", input="\n".join(lines) + "\n")

    def pids(self):
        """What runs in the namespaces, and this process."""
        pids = {os.getpid()}
        for room in ROOMS:
            pids.update(map(int, run("ip", "netns", "pids", self.ns(room),
                                     check=False).stdout.split()))
        return pids

    def remove(self):
        for room in ROOMS:
            for pid in run("ip", "netns", "pids", self.ns(room), check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", self.ns(room), check=False)

    def __enter__(self):
        self.remove()
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.wire:
            self.wire.kill()
            self.wire.wait()
        if not self.keep:
            self.remove()

    def _build(self):
        for room in ROOMS:
            run("ip", "netns", "add", self.ns(room))
            run(*self.inside(room, "sysctl", "-qw", *(f"net.{s}" for s in SETTINGS)))
            self.ip(room, "link set lo up")
        run(*self.inside("r", "sysctl", "-qw", "net.ipv4.ip_forward=1",
                         "net.ipv6.conf.all.forwarding=1"))
        self.ip("c", f"link add {DEV} type veth peer name down0 netns {self.ns('r')}",
                f"addr add {CLIENT_IP4[0]}/24 dev {DEV}", f"link set {DEV} up")
        self.ip("r", f"addr add {GATEWAY_IP4}/24 dev down0", "link set down0 up")
        if self.delay_ms:
            run(*self.inside("d", "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"))
            self.ip("r", f"link add isp0 type veth peer name a netns {self.ns('d')}")
            self.ip("s", f"link add {DEV} type veth peer name b netns {self.ns('d')}")
            self.ip("d", "link set dev a up", "link set dev b up")
            self.wire = subprocess.Popen(self.inside("d", f"{self.tools}/wire", "a", "b",
                                                     str(int(self.delay_ms * 1000))))
        else:
            self.ip("s", f"link add {DEV} type veth peer name isp0 netns {self.ns('r')}")
        self.ip("r", f"addr add {ISP_IP4}/24 dev isp0", "link set isp0 up")
        self.ip("s", f"addr add {SERVER_IP4}/24 dev {DEV}", f"link set {DEV} up",
                f"route add default via {ISP_IP4}")
        self.ip("c", f"route add default via {GATEWAY_IP4}")
        run(*self.inside("c", "ping", "-c1", "-w5", SERVER_IP4))


class AddressChange:
    """What a DSL reconnect does. ip(8) is started beforehand, so that only its requests are timed."""

    def __init__(self, net):
        self.procs = [subprocess.Popen(("ip", "-n", net.ns("c"), "-batch", "-"), text=True,
                                       stdin=subprocess.PIPE) for _ in range(2)]
        time.sleep(0.1)

    def __call__(self, gap_s):
        """Returns when it began and ended, CLOCK_MONOTONIC in nanoseconds."""
        old, new = CLIENT_IP4
        delete = [f"addr del {old}/24 dev {DEV}"]
        add = [f"addr add {new}/24 dev {DEV}", f"route add default via {GATEWAY_IP4}"]
        start = time.monotonic_ns()
        if gap_s:
            self._step(*delete)
            time.sleep(gap_s)
            self._step(*add)
        else:
            self._step(*delete, *add)
        end = time.monotonic_ns()
        for proc in self.procs:
            proc.communicate("")
        return start, end

    def _step(self, *lines):
        proc = self.procs.pop(0)
        proc.communicate("\n".join(lines) + "\n")
        if proc.returncode:
            raise RuntimeError("the address change failed")
