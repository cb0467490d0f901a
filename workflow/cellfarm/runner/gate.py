"""The gate before a launch: waits, for a limited time, until the device's state is within limits."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import calibration  # type: ignore[import-not-found]
import sensors  # type: ignore[import-not-found]
import system  # type: ignore[import-not-found]

#: How long the load by others is watched at first. It is counted in ticks of 10 ms; if it is too
#: high, it is watched again for twice as long, which is also the waiting.
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 1.0
#: Waiting is reported this often.
_REPORT_INTERVAL_S = 1.0
#: Temperatures that are compared for stability are at least this far apart.
_STABLE_OVER_S = 1.0


def run(request: Mapping[str, Any], emit: Callable[..., None]) -> None:
    """Mode `gate` of the runner: the event `gate` with what `wait` returns, `waiting` before it.

    Request: limits, threads, and where known cores, baseline_c, calibration_ms. With `readings` it
    emits the event `reference` instead: the times of so many runs of the calibration load, and the
    temperatures before them.
    """
    if request.get("readings"):
        at_rest = sensors.temperatures()
        runs = [
            calibration.calibrate(request["threads"], request.get("cores"))
            for _ in range(request["readings"])
        ]
        emit("reference", ms=[run["compute_ms"] for run in runs], temperatures_c=at_rest)
        return

    def report(exceeded: list[str], waited_s: float) -> None:
        emit("waiting", what=", ".join(exceeded), waited_s=waited_s)

    state = wait(
        request["limits"],
        threads=request["threads"],
        cores=request.get("cores"),
        baseline_c=request.get("baseline_c"),
        calibration_ms=request.get("calibration_ms"),
        report=report,
    )
    emit("gate", **state)


def wait(
    limits: Mapping[str, float | None],
    *,
    threads: int,
    cores: list[int] | None = None,
    baseline_c: Mapping[str, float] | None = None,
    calibration_ms: float | None = None,
    report: Callable[[list[str], float], None] | None = None,
    root: str = "/",
) -> dict[str, Any]:
    """Read the state repeatedly until it is within all limits, or wait_s have passed.

    Args:
        limits: wait_s, and where there is a limit:
            other_cpu_cores: CPU use by others, in cores;
            temperature_rise_c: of any zone above its `baseline_c`;
            temperature_change_c: of any zone within the last second or more. Not checked on the
                first look: a device that is cool then passes;
            battery_percent: the lowest charge;
            slowdown: the share by which the calibration may take longer than `calibration_ms`.
            A value that cannot be read exceeds no limit.
        threads, cores: of the calibration load.
        report: called every second of waiting with the exceeded limits and the time waited.

    Returns:
        The last look: other_cpu_cores, temperatures_c, battery_percent, governor, frequency_mhz,
        load_1min, idle_w (power while nothing ran, in W), calibration and its identity; waited_s,
        looks; exceeded: which of `load`, `temperature`, `battery`, `speed` still are.
    """
    began_s = time.monotonic()
    end_s = began_s + (limits.get("wait_s") or 0.0)
    reported_s = began_s
    look_s = _FIRST_LOOK_S
    steady = _Steadiness()
    looks = 0
    while True:
        state = _look(look_s, threads, cores, root)
        looks += 1
        now_s = time.monotonic()
        change_c = steady.change_c(now_s, state["temperatures_c"])
        exceeded = _exceeded(state, limits, baseline_c or {}, calibration_ms, change_c)
        if not exceeded or now_s + look_s >= end_s:
            waited_s = now_s - began_s if looks > 1 else 0.0
            return {**state, "waited_s": waited_s, "looks": looks, "exceeded": exceeded}
        if report and now_s - reported_s >= _REPORT_INTERVAL_S:
            report(exceeded, now_s - began_s)
            reported_s = now_s
        look_s = min(2 * look_s, _LONGEST_LOOK_S)


def _look(seconds: float, threads: int, cores: list[int] | None, root: str) -> dict[str, Any]:
    """Read everything once: the idle device for some seconds, then the calibration."""
    rapl = sensors.Rapl(root)
    before = system.snapshot(root)
    time.sleep(seconds)
    after = system.snapshot(root)
    energy_j = rapl.energy_j()
    battery = sensors.battery(root) or {}
    idle_s = after["wall_s"] - before["wall_s"]
    return {
        "other_cpu_cores": system.difference(before, after)["other_cpu_utilisation"],
        "temperatures_c": sensors.temperatures(root),
        "battery_percent": battery.get("percent"),
        "idle_w": battery.get("power_w") if energy_j is None else energy_j / idle_s,
        "governor": sensors.governor(root),
        "load_1min": system.load_average(root),
        "calibration": calibration.calibrate(threads, cores),
        "frequency_mhz": sensors.frequencies_mhz(root),  # after the load has raised it
        "identity": calibration.identity(),
    }


def _exceeded(
    state: Mapping[str, Any],
    limits: Mapping[str, float | None],
    baseline_c: Mapping[str, float],
    calibration_ms: float | None,
    change_c: float | None,
) -> list[str]:
    zones = state["temperatures_c"]
    rises = [zones[name] - at_rest for name, at_rest in baseline_c.items() if name in zones]
    slowdown = state["calibration"]["compute_ms"] / calibration_ms - 1 if calibration_ms else None
    is_hot = _above(max(rises, default=None), limits.get("temperature_rise_c"))
    verdicts = {
        "load": _above(state["other_cpu_cores"], limits.get("other_cpu_cores")),
        "temperature": is_hot or _above(change_c, limits.get("temperature_change_c")),
        "battery": _above(limits.get("battery_percent"), state["battery_percent"]),
        "speed": _above(slowdown, limits.get("slowdown")),
    }
    return [name for name, is_exceeded in verdicts.items() if is_exceeded]


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


class _Steadiness:
    """How much temperatures change during the wait."""

    def __init__(self) -> None:
        self._at_s = float("-inf")
        self._zones: dict[str, float] = {}
        self._change_c: float | None = None

    def change_c(self, now_s: float, zones: dict[str, float]) -> float | None:
        """The largest change of a zone over the last second or more; None before that."""
        if now_s - self._at_s >= _STABLE_OVER_S:
            changes = [abs(zones[name] - old) for name, old in self._zones.items() if name in zones]
            self._change_c = max(changes, default=None)
            self._at_s, self._zones = now_s, zones
        return self._change_c
