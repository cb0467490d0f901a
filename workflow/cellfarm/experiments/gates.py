"""Gates before a launch: the device must be quiet, cool, charged and as fast as it was.

A gate is a runner without a library: it runs the small fixed calibration load, reads the device's
state, and waits, within a bound, until all limits hold. A launch outside a limit is made all the
same, and is flagged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from ..base.untrusted import number, text
from ..measures.launches import GATE
from .deployed import Deployed, Setting
from .launch import run_runner

#: Readings at the start of an experiment that tell how fast the device is now, per thread count.
REFERENCE_READINGS = 8
#: A gate hangs if it has not ended this long after its own limit.
GRACE_S = 10.0
_EXCEEDED = ("load", "temperature", "battery", "speed")


@dataclass
class Gates:
    """The gates of one experiment.

    Args:
        on_waiting: called with what is waited for, and the seconds waited so far.
        baseline_c: temperature by zone when the device is at rest; without a history, the first
            reading.
    """

    setting: Setting
    on_waiting: Callable[[str, float], None]
    baseline_c: Mapping[str, float] = field(default_factory=dict)
    reference_ms: dict[int, float | None] = field(default_factory=dict)
    waited_s: float = 0.0

    def pass_through(
        self, deployed: Deployed, threads: int, cores: Sequence[int] | None
    ) -> dict[str, Any]:
        """Go through the gate before a launch with this many threads on these cores.

        Returns:
            The last readings: {"calibration", "exceeded", "waited_s", ...}; {"problem"} if the
            device could not be read.
        """
        if not deployed.python.argv:
            return {"problem": "the device gets no Python, in which gates run"}
        if threads not in self.reference_ms:
            self.reference_ms[threads] = self._measure_reference(deployed, threads, cores)
        limits = self.setting.protocol.gates.as_dict()
        left_s = max(0.0, limits.pop("budget_s") - self.waited_s)
        limits["wait_s"] = min(limits["wait_s"], left_s)
        began_s = time.monotonic()
        readings = self._read(deployed, threads, cores, limits)
        # A gate that hangs has spent time of the budget, too.
        hung_s = time.monotonic() - began_s if "problem" in readings else 0.0
        self.waited_s += readings.get("waited_s") or hung_s
        return readings

    def _measure_reference(
        self, deployed: Deployed, threads: int, cores: Sequence[int] | None
    ) -> float | None:
        """The device's speed in this experiment, from the fast readings: the gate waits for slow
        episodes of shared hardware to end. None without readings."""
        readings_ms: list[float] = []
        zones: dict[str, float] = {}

        def take(line: str) -> None:
            event = _parse(line)
            if event.get("event") == "reference":
                values = event.get("ms")
                known = map(number, values if isinstance(values, list) else ())
                readings_ms.extend(value for value in known if value and value > 0)
                zones.update(_known(event.get("temperatures_c")))

        request = self._request(threads, cores) | {"readings": REFERENCE_READINGS}
        run_runner(self.setting, deployed, request, take, GRACE_S)
        self.baseline_c = self.baseline_c or zones
        return quantiles(readings_ms, n=4)[0] if len(readings_ms) > 1 else None

    def _request(self, threads: int, cores: Sequence[int] | None) -> dict[str, Any]:
        return {
            "module": GATE,
            "mode": GATE,
            "threads": threads,
            "cores": list(cores) if cores else None,
        }

    def _read(
        self,
        deployed: Deployed,
        threads: int,
        cores: Sequence[int] | None,
        limits: Mapping[str, Any],
    ) -> dict[str, Any]:
        request = self._request(threads, cores) | {
            "limits": dict(limits),
            "baseline_c": dict(self.baseline_c),
            "calibration_ms": self.reference_ms.get(threads),
        }
        readings: dict[str, Any] = {}

        def take(line: str) -> None:
            event = _parse(line)
            if event.get("event") == "waiting":
                self.on_waiting(text(event.get("what"), 100), number(event.get("waited_s")) or 0.0)
            elif event.get("event") == "gate":
                readings.update(_checked(event))

        timeout_s = limits["wait_s"] + GRACE_S
        launched = run_runner(self.setting, deployed, request, take, timeout_s)
        if not readings:
            why = "timed out" if launched.timed_out else f"ended with code {launched.code}"
            return {"problem": f"the gate {why}: {text(launched.log[-300:], 300)}"}
        return readings


def _parse(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _known(values: Any) -> dict[str, float]:
    items = values.items() if isinstance(values, dict) else ()
    numbers = ((text(name, 60), number(value)) for name, value in list(items)[:100])
    return {name: value for name, value in numbers if value is not None}


def _checked(event: Mapping[str, Any]) -> dict[str, Any]:
    """The readings of a gate; invalid values become None or are left out."""
    exceeded = event.get("exceeded")
    return {
        "calibration": _known(event.get("calibration")),
        "identity": text(event.get("identity"), 200),
        "temperatures_c": _known(event.get("temperatures_c")),
        "frequency_mhz": _known(event.get("frequency_mhz")),
        **{
            name: number(event.get(name))
            for name in ("other_cpu_cores", "battery_percent", "load_1min", "idle_w", "waited_s")
        },
        "governor": text(event["governor"], 200) if event.get("governor") else None,
        "exceeded": [
            limit
            for limit in _EXCEEDED
            if limit in (exceeded if isinstance(exceeded, list) else [])
        ],
    }
