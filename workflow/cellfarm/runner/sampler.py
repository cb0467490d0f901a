"""The conditions while a launch runs: a child process that reads counters and sensors at a fixed rate.

It is forked before the library is imported: there are no threads to lose yet, and nothing of the
library is copied. It keeps raw counters, computes rates at the end, and costs well under 1 % of a
core at 20 readings a second (docs/benchmarks.md).
"""

import contextlib
import gc
import itertools
import json
import os
import select
import signal
import time
from typing import Any

from probes import COUNTERS, Probes  # type: ignore[import-not-found]
from reading import listed  # type: ignore[import-not-found]

MAX_ROWS = 20_000
#: The child may use this share of a core; above it, it reads half as often.
MAX_CPU_SHARE = 0.01
_MAX_INTERVAL_S = 2.0
#: How long the child may take to hand over its rows: 20,000 of them take half a second here.
_STOP_TIMEOUT_S = 5.0
_NOTHING: dict[str, Any] = {
    "t_s": [],
    "metrics": {},
    "interval_s": None,
    "cpu_share": None,
    "power_meter": None,
}


class Sampler:
    """Samples from its construction until `stop`.

    Args:
        interval_s: between readings. It doubles when the child would use more than 1 % of a core,
            and at 20,000 rows, when every second row is dropped.
        avoid_cores: those of the measured process; the child avoids them if others are left.
        pid: the process to watch; None: the caller.
        root: the folder that holds /proc and /sys.
    """

    def __init__(
        self,
        interval_s: float,
        avoid_cores: list[int] | None = None,
        pid: int | None = None,
        root: str = "/",
    ) -> None:
        parent = os.getpid()
        control_read, self._control = os.pipe()
        self._data, data_write = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                _keep_only(control_read, data_write)
                _run(pid or parent, parent, interval_s, avoid_cores or [], root)
            finally:
                os._exit(0)  # nothing of the parent may be flushed or run twice
        os.close(control_read)
        os.close(data_write)

    def stop(self) -> dict[str, Any]:
        """End the child; returns what it read.

        Returns:
            t_s: the times of the rows, in s of the monotonic clock;
            metrics: name -> a value per row, None where it could not be read. Rates hold for the
                time since the row before. Metrics that were never known are left out;
            interval_s: between rows at the end;
            cpu_share: CPU time of the child over wall time, once it was set up;
            power_meter: what `power_w` comes from: rapl, battery or None.
            No rows, and None, if the child was killed or hangs, and on a second call.
        """
        if self.child == 0:
            return dict(_NOTHING)
        with contextlib.suppress(OSError):
            # Closing alone is not enough: a fork made by the library may hold this end open.
            os.write(self._control, b"x")
        os.close(self._control)
        data = _read_all(self._data, time.monotonic() + _STOP_TIMEOUT_S)
        os.close(self._data)
        with contextlib.suppress(OSError):
            os.kill(self.child, signal.SIGKILL)  # not yet waited for: the id is still the child's
        with contextlib.suppress(OSError):  # a library may have waited for it, or ignore SIGCHLD
            os.waitpid(self.child, 0)
        self.child = 0
        try:
            return dict(json.loads(data))
        except ValueError:
            return dict(_NOTHING)


def energy_mj(
    conditions: dict[str, Any], start_s: float, end_s: float, idle_w: float | None
) -> float | None:
    """Energy used from start to end above that of the idle device, in mJ.

    The power of a row holds for the time since the previous row. For RAPL it is computed from the
    energy counted in that time, so the sum is exact except at both ends. The resolution is
    `conditions["interval_s"]`; a battery's gauge may be slower.

    Args:
        conditions: what `Sampler.stop` returned.
        start_s, end_s: of the monotonic clock.
        idle_w: power of the idle device in W.

    Returns:
        None without a meter or idle power, and when less than 90 % of the time has a reading.
    """
    power = conditions["metrics"].get("power_w")
    if power is None or idle_w is None or end_s <= start_s:
        return None
    times = conditions["t_s"]
    begins = [times[0] - (conditions["interval_s"] or 0.0), *times]
    joules = covered_s = 0.0
    for begin, end, watts in zip(begins, times, power, strict=False):
        seconds = min(end, end_s) - max(begin, start_s)
        if seconds > 0 and watts is not None:
            joules += watts * seconds
            covered_s += seconds
    if covered_s < 0.9 * (end_s - start_s):
        return None
    return (joules / covered_s - idle_w) * (end_s - start_s) * 1e3


def _run(pid: int, parent: int, interval_s: float, avoid: list[int], root: str) -> None:
    """The child: sample until the control pipe (descriptor 0) ends it, then write the rows."""
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_off(avoid)
    probes = Probes(pid, avoid, root)
    rows: list[list[float | None]] = []
    poll = select.poll()
    poll.register(0, select.POLLIN)
    clock = time.monotonic
    began_s, began_cpu_s = clock(), time.process_time()
    setup_cpu_s = began_cpu_s
    rows.append([began_s, *probes.read(began_s)])
    schedule_s = began_s  # readings fall on whole intervals after this moment: no drift
    while True:
        # At least half an interval from now: over a very short time, one tick of the machine's
        # clock would look like many busy cores.
        missed = int((clock() - schedule_s) / interval_s + 0.5)
        due_s = schedule_s + (missed + 1) * interval_s
        if poll.poll(max(0.0, due_s - clock()) * 1e3) or os.getppid() != parent:
            break
        now_s = clock()
        rows.append([now_s, *probes.read(now_s)])
        share = (time.process_time() - began_cpu_s) / (now_s - began_s)
        is_dear = share > MAX_CPU_SHARE and now_s - began_s > 20 * interval_s
        if len(rows) >= MAX_ROWS:
            rows = rows[::2]
        elif not is_dear or interval_s >= _MAX_INTERVAL_S:
            continue
        interval_s *= 2
        schedule_s = now_s
        began_s, began_cpu_s = now_s, time.process_time()
    now_s = clock()
    if os.getppid() != parent:
        return
    wall_s = now_s - rows[0][0]  # type: ignore[operator]
    if len(rows) > 1 and now_s - rows[-1][0] < interval_s / 2:  # type: ignore[operator]
        rows.pop()
    rows.append([now_s, *probes.read(now_s)])
    used_s = time.process_time() - setup_cpu_s
    conditions = {
        "t_s": [round(row[0], 5) for row in rows[1:]],  # type: ignore[arg-type]
        "metrics": _metrics(probes.names, rows),
        "interval_s": interval_s,
        "cpu_share": round(used_s / wall_s, 6) if wall_s > 0 else None,
        "power_meter": probes.power_meter,
    }
    data = memoryview(json.dumps(conditions, allow_nan=False).encode())
    while data:
        data = data[os.write(1, data) :]


def _metrics(names: list[str], rows: list[list[float | None]]) -> dict[str, list[float | None]]:
    """Columns from rows of raw readings; the first row is only the start of the rates."""
    raw = dict(zip(names, zip(*(row[1:] for row in rows), strict=True), strict=True))
    seconds = [new[0] - old[0] for old, new in itertools.pairwise(rows)]  # type: ignore[operator]
    columns: dict[str, list[float | None]] = {}
    for name, values in raw.items():
        if name in COUNTERS:
            columns[COUNTERS[name]] = _rates(values, seconds)
        else:
            columns[name] = list(values[1:])
    busy = columns.pop("busy", [None] * len(seconds))
    sampler = columns.pop("sampler", busy)
    process = columns.get("cpu_utilisation", busy)
    columns["other_cpu_utilisation"] = _others(busy, process, sampler)
    return {
        name: [None if value is None else round(value, 4) for value in values]
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def _rates(values: Any, seconds: list[float]) -> list[float | None]:
    return [
        None if old is None or new is None or wall <= 0 else max(0.0, (new - old) / wall)
        for old, new, wall in zip(values, values[1:], seconds, strict=False)
    ]


def _others(
    busy: list[float | None], process: list[float | None], sampler: list[float | None]
) -> list[float | None]:
    """CPU use by others: that of the machine, less the process and this sampler.

    The machine is counted in ticks of 10 ms, the processes exactly, so a difference may be negative.
    It then counts as 0, and the rest is subtracted from the next values: the mean stays right.
    """
    result: list[float | None] = []
    deficit = 0.0
    for machine_use, process_use, sampler_use in zip(busy, process, sampler, strict=True):
        if machine_use is None or process_use is None or sampler_use is None:
            result.append(None)
            continue
        value = machine_use - process_use - sampler_use + deficit
        deficit = min(0.0, value)
        result.append(max(0.0, value))
    return result


def _keep_only(control: int, data: int) -> None:
    """Close every file of the parent, so that its locks and pipes end with it."""
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((control, 0), (data, 1), (null, 2)):
        os.dup2(source, target)
    for name in listed("/", "proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _keep_off(cores: list[int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        others = os.sched_getaffinity(0) - set(cores)
        if others:
            os.sched_setaffinity(0, others)


def _read_all(descriptor: int, deadline_s: float) -> bytes:
    """All data until the other end closes; nothing if that takes too long."""
    parts = []
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            return b""
        part = os.read(descriptor, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)
