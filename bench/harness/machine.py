"""Who used the CPU, and what machine this is. CPU: 100 = one core."""
import contextlib
import os
import platform
import time

TICKS = os.sysconf("SC_CLK_TCK")
TAKEN_CPU = 20          # percent of a core, see `was_taken`


def cpu_seconds(pid):
    """CPU time of all threads of a process, to the nanosecond where the kernel tells it."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        return total / 1e9
    except (FileNotFoundError, IndexError):
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def memory_of(pids):
    """Resident and proportional set size in KiB, and threads, of `{side: pid}`."""
    record = {}
    for side, pid in pids.items():
        with open(f"/proc/{pid}/status") as f:
            status = dict(line.split(":", 1) for line in f)
        with open(f"/proc/{pid}/smaps_rollup") as f:
            smaps = dict(line.split(":", 1) for line in f.readlines()[1:])
        record[f"{side}_rss_kb"] = int(status["VmRSS"].split()[0])
        record[f"{side}_pss_kb"] = int(smaps["Pss"].split()[0])
        record[f"{side}_threads"] = int(status["Threads"])
    return record


def machine_cpu():
    """Seconds in which CPUs were busy, and seconds the hypervisor took from them."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def foreign_ticks(ours):
    """CPU ticks by pid of the user processes that are not among `ours`."""
    ticks = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            is_kernel_thread = fields[1] == "2"
            if not is_kernel_thread and int(pid) not in ours:
                ticks[pid] = sum(map(int, fields[11:13]))
    return ticks


class Load:
    """Who else used the machine meanwhile. The kernel's softirq work shows in `machine_cpu` only."""

    def __init__(self, our_pids):
        self.our_pids = our_pids
        self.start = time.monotonic()
        self.ticks, (self.busy, self.stolen) = foreign_ticks(our_pids()), machine_cpu()

    def report(self):
        seconds = time.monotonic() - self.start
        ticks, (busy, stolen) = foreign_ticks(self.our_pids()), machine_cpu()
        foreign = sum(max(0, n - self.ticks.get(pid, 0)) for pid, n in ticks.items())
        return dict(machine_cpu=round(100 * (busy - self.busy) / seconds),
                    foreign_cpu=round(100 * foreign / TICKS / seconds),
                    stolen_cpu=round(100 * (stolen - self.stolen) / seconds))


def was_taken(load):
    """Whether others, or the hypervisor, had so much of the CPU that it was them who were measured."""
    return load["foreign_cpu"] + load["stolen_cpu"] > TAKEN_CPU


def wait_until_idle(limit_s):
    """Waits for a second in which the machine is at least 90 % idle, or until the limit."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = sum(machine_cpu())
        time.sleep(1)
        if sum(machine_cpu()) - before < 0.1 * os.cpu_count():
            return


def describe_machine(run):
    model = "unknown"
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f
                      if line.startswith("model name")), model)
    with open("/proc/meminfo") as f:
        memory_kb = int(f.readline().split()[1])
    return dict(cores=os.cpu_count(), cpu=model, memory_gb=round(memory_kb / 2**20, 1),
                kernel=platform.release(),
                node=run("node", "--version").stdout.strip())
