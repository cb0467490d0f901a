"""What the system was doing while samples were taken. Unknown is None, never 0."""

import os
import time
from typing import Any


def snapshot() -> dict[str, Any]:
    """Counters to take the difference of."""
    times = os.times()
    return {
        "wall_s": time.monotonic(),
        "process_s": times.user + times.system,
        "machine": _machine_jiffies(),
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float | None]:
    """CPU utilisation in cores: of this process, of everything else, and stolen by a hypervisor."""
    wall_s = after["wall_s"] - before["wall_s"]
    if wall_s <= 0:
        return {"cpu_utilisation": None, "other_cpu_utilisation": None, "steal": None}
    own = (after["process_s"] - before["process_s"]) / wall_s
    if before["machine"] is None or after["machine"] is None:
        return {"cpu_utilisation": own, "other_cpu_utilisation": None, "steal": None}
    ticks = os.sysconf("SC_CLK_TCK") * wall_s
    busy, stolen = (new - old for old, new in zip(before["machine"], after["machine"], strict=True))
    return {
        "cpu_utilisation": own,
        "other_cpu_utilisation": max(0.0, busy / ticks - own),
        "steal": max(0.0, stolen / ticks),
    }


def rss_mb() -> float | None:
    """The resident set now."""
    return _status_mb("VmRSS")


def peak_rss_mb() -> float | None:
    """The largest resident set so far. Not ru_maxrss: that one starts with the parent's."""
    return _status_mb("VmHWM")


def _status_mb(field: str) -> float | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return None


def _machine_jiffies() -> tuple[int, int] | None:
    """(busy, stolen) of all processors together since boot."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(part) for part in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, kernel, _idle, _iowait, irq, softirq, steal = fields
    return user + nice + kernel + irq + softirq, steal
