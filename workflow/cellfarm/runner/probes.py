"""What the sampler reads: files stay open, and slow sensors are read once a second."""

import os
from typing import Any

import sensors  # type: ignore[import-not-found]
import system  # type: ignore[import-not-found]

#: counter -> the metric that is its rate
COUNTERS = {
    "process_s": "cpu_utilisation",
    "sampler_s": "sampler",
    "busy_s": "busy",
    "stolen_s": "steal",
    "pressure_s": "cpu_pressure",
    "energy_j": "power_w",
}
#: Sensors answer slowly (some ask a chip over a bus) and change slowly.
SLOW_S = 1.0
#: A phone has a hundred thermal zones, a server a frequency domain per processor.
MAX_ZONES = 8
MAX_POLICIES = 8
_PROCESSOR_ZONES = ("cpu", "soc", "pkg", "skin", "batt", "gpu", "big", "little")


class Probes:
    """Reads one row of values at a time.

    Args:
        pid: the process to watch.
        measured: the cores whose frequency is watched first, where there are too many.
        root: the folder that holds /proc and /sys.
    """

    def __init__(self, pid: int, measured: list[int], root: str) -> None:
        self._pid = pid
        self._root = root
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page_mb = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        self._stat = File(root, "proc/stat")
        self._pressure = File(root, "proc/pressure/cpu")
        self._memory = File(root, f"proc/{pid}/statm")
        self._clocks = [
            File(root, sensors.frequency_file(name)) for name in watched_policies(measured, root)
        ]
        zones = watched_zones(root)
        self._zones = [File(root, file) for file in zones.values()]
        self._rapl = sensors.Rapl(root)
        self._battery = sensors.battery_folder(root)
        self._battery_files: dict[str, File] = {}
        self._slow: list[float | None] = []
        self._slow_due_s = 0.0
        self.names = ["process_s", "sampler_s", "busy_s", "stolen_s", "pressure_s", "rss_mb"]
        self.names += [f"frequency_{name}_mhz" for name in watched_policies(measured, root)]
        if self._rapl.exists:
            self.names.append("energy_j")
        self.names += [f"temperature_{name}_c" for name in zones]
        if self._battery:
            self.names += ["battery_percent", "battery_current_a", "battery_voltage_v"]
            if not self._rapl.exists:
                self.names.append("power_w")
        self.power_meter = "rapl" if self._rapl.exists else "battery" if self._battery else None

    def read(self, now_s: float) -> list[float | None]:
        """A value for each of `names`: counters from an arbitrary start, sensors as they are now."""
        stat, pressure = self._stat.read(), self._pressure.read()
        jiffies = system.parse_jiffies(stat) if stat else None
        busy, stolen = jiffies if jiffies else (None, None)
        waited = system.parse_pressure(pressure) if pressure else None
        values = [
            system.process_s(self._pid, self._root),
            system.process_s(os.getpid()),
            None if busy is None else busy / self._ticks,
            None if stolen is None else stolen / self._ticks,
            None if waited is None else waited / 1e6,
            self._rss_mb(),
        ]
        values += [sensors.frequency_mhz(file.read()) for file in self._clocks]
        if self._rapl.exists:
            values.append(self._rapl.energy_j())
        if now_s >= self._slow_due_s:
            self._slow = self._read_slow()
            self._slow_due_s = now_s + SLOW_S
        return values + self._slow

    def _read_slow(self) -> list[float | None]:
        values = [sensors.temperature_c(file.read()) for file in self._zones]
        if self._battery:
            battery = sensors.battery_at(self._battery_field)
            names = ["percent", "current_a", "voltage_v"]
            values += [battery[name] for name in names + ["power_w"] * (not self._rapl.exists)]
        return values

    def _battery_field(self, name: str) -> str | None:
        if name not in self._battery_files:
            self._battery_files[name] = File(self._root, f"{self._battery}/{name}")
        return self._battery_files[name].read()

    def _rss_mb(self) -> float | None:
        fields = (self._memory.read() or "").split()
        return int(fields[1]) * self._page_mb if fields[1:] and fields[1].isdecimal() else None


class File:
    """A small file that is read repeatedly; kept open, which halves the cost of reading."""

    def __init__(self, root: str, name: str) -> None:
        try:
            self._descriptor = os.open(os.path.join(root, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1

    def read(self) -> str | None:
        """The first 4 KB of its text as it is now, or None."""
        if self._descriptor < 0:
            return None
        try:
            return os.pread(self._descriptor, 4096, 0).decode("ascii", "replace").strip() or None
        except OSError:
            return None


def watched_policies(measured: list[int], root: str) -> list[str]:
    """Frequency domains to watch; if there are too many, those of the measured cores first."""
    policies = sensors.policies(root)
    of_measured = {f"policy{core}" for core in measured}
    chosen = sorted(policies, key=lambda name: name not in of_measured)[:MAX_POLICIES]
    return [name for name in policies if name in chosen]


def watched_zones(root: str) -> dict[str, Any]:
    """Working thermal zones to watch; if there are too many, those of processors first."""
    working = set(sensors.temperatures(root))
    zones = {name: file for name, file in sensors.zones(root).items() if name in working}
    chosen = sorted(zones, key=lambda name: not any(word in name for word in _PROCESSOR_ZONES))
    return {name: zones[name] for name in sorted(chosen[:MAX_ZONES])}
