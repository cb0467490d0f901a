"""What the system counts while samples are taken: CPU time, memory, switches, pressure.

Every reader takes `root`, the folder that holds /proc. Any file may be missing, unreadable or absurd:
such a value is None, never 0.
"""

import os
import resource
import time
from typing import Any

from reading import listed, number, read  # type: ignore[import-not-found]

_RSS_LAG_MB = 1.0
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: a process's exact CPU time, user and system


def snapshot(root: str = "/") -> dict[str, Any]:
    """Counters of this process and of the machine, see `difference`."""
    voluntary, involuntary = context_switches()
    return {
        "wall_s": time.monotonic(),
        "process_s": time.process_time(),
        "machine": machine_jiffies(root),
        "voluntary_switches": voluntary,
        "involuntary_switches": involuntary,
        "migrations": migrations(root),
        "pressure_us": pressure_us(root),
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float | int | None]:
    """What happened between two snapshots.

    Returns:
        cpu_utilisation, other_cpu_utilisation, steal: CPU time in cores, of this process, of
        everything else, and taken by a hypervisor;
        voluntary_switches, involuntary_switches, migrations: counts over all threads (without the
        migrations of threads that ended in between);
        cpu_pressure: the share of time in which some task waited for a processor.
    """
    wall_s = after["wall_s"] - before["wall_s"]
    result: dict[str, float | int | None] = dict.fromkeys(
        ("cpu_utilisation", "other_cpu_utilisation", "steal", "cpu_pressure")
    )
    for name in ("voluntary_switches", "involuntary_switches"):
        result[name] = after[name] - before[name]
    result["migrations"] = _migrated(before["migrations"], after["migrations"])
    if wall_s <= 0:
        return result
    process_cores = result["cpu_utilisation"] = (after["process_s"] - before["process_s"]) / wall_s
    if before["machine"] is not None and after["machine"] is not None:
        ticks = os.sysconf("SC_CLK_TCK") * wall_s
        pairs = zip(before["machine"], after["machine"], strict=True)
        busy, stolen = (new - old for old, new in pairs)
        result["other_cpu_utilisation"] = max(0.0, busy / ticks - process_cores)
        result["steal"] = max(0.0, stolen / ticks)
    if before["pressure_us"] is not None and after["pressure_us"] is not None:
        result["cpu_pressure"] = (after["pressure_us"] - before["pressure_us"]) / 1e6 / wall_s
    return result


def machine_jiffies(root: str = "/") -> tuple[int, int] | None:
    """(busy, stolen) time of all processors together since boot, in 1/SC_CLK_TCK s.

    Source: /proc/stat. Android hides it from apps, not from the shell's user.
    """
    text = read(root, "proc/stat")
    return parse_jiffies(text) if text else None


def parse_jiffies(text: str) -> tuple[int, int] | None:
    """(busy, stolen) from the first line of /proc/stat."""
    try:
        name, *fields = text.split("\n", 1)[0].split()[:9]
        user, nice, kernel, _idle, _iowait, irq, softirq, steal = map(int, fields)
    except ValueError:
        return None
    return (user + nice + kernel + irq + softirq, steal) if name == "cpu" else None


def process_s(pid: int, root: str = "/") -> float | None:
    """CPU time of a process in s, user and system, over all threads."""
    if root == "/":
        try:  # exact, where /proc counts in 10 ms
            return time.clock_gettime((~pid << 3) | PROCESS_CLOCK)
        except OSError:
            pass
    text = read(root, f"proc/{pid}/stat")
    try:  # the name of the process may hold spaces and brackets
        fields = text.rpartition(")")[2].split()  # type: ignore[union-attr]
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (AttributeError, IndexError, ValueError):
        return None


def rss_mb(root: str = "/") -> float | None:
    """The resident set now, in units of 2^20 bytes."""
    return _status_mb("VmRSS", root)


def peak_rss_mb(root: str = "/") -> float | None:
    """The largest resident set so far, or since `reset_peak`, in units of 2^20 bytes.

    Not ru_maxrss, which starts at the parent's and cannot be reset.
    """
    return _status_mb("VmHWM", root)


def reset_peak(root: str = "/") -> bool:
    """Reset the peak to the present resident set; returns whether the kernel did."""
    try:
        with open(os.path.join(root, "proc/self/clear_refs"), "wb", buffering=0) as file:
            file.write(b"5")
    except OSError:
        return False
    peak, now = peak_rss_mb(root), rss_mb(root)
    # Some kernels accept the write and do nothing, so the peak is read back. Both values are counted
    # per processor and lag by some pages.
    return peak is not None and now is not None and peak <= now + _RSS_LAG_MB


def context_switches() -> tuple[int, int]:
    """(voluntary, involuntary) of this process since it began, over all threads, also ended ones."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw


def migrations(root: str = "/") -> dict[str, int] | None:
    """Moves between processors so far, by thread of this process (se.nr_migrations)."""
    counts = {}
    for thread in listed(root, "proc/self/task"):
        text = read(root, f"proc/self/task/{thread}/sched")
        for line in (text or "").splitlines():
            if line.startswith("se.nr_migrations"):
                value = number(line.rpartition(":")[2])
                if value is not None:
                    counts[thread] = int(value)
    return counts or None


def pressure_us(root: str = "/") -> int | None:
    """Time since boot in which some task waited for a processor, in µs (/proc/pressure/cpu)."""
    text = read(root, "proc/pressure/cpu")
    return parse_pressure(text) if text else None


def parse_pressure(text: str) -> int | None:
    """The total of the line `some` of a pressure file, in µs."""
    line = text.split("\n", 1)[0]
    total = line.rpartition("total=")[2]
    return int(total) if line.startswith("some ") and total.isdecimal() else None


def load_average(root: str = "/") -> float | None:
    """Tasks that ran or waited to run, over the last minute."""
    text = read(root, "proc/loadavg")
    return number(text.split()[0]) if text else None


def _migrated(before: dict[str, int] | None, after: dict[str, int] | None) -> int | None:
    if before is None or after is None:
        return None
    return sum(max(0, count - before.get(thread, 0)) for thread, count in after.items())


def _status_mb(field: str, root: str) -> float | None:
    for line in (read(root, "proc/self/status") or "").splitlines():
        if line.startswith(field + ":"):
            try:
                return int(line.split()[1]) / 1024
            except (IndexError, ValueError):
                return None
    return None
