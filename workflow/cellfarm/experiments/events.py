"""The record of a launch from the lines that a runner prints. Nothing from a device is trusted."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

from ..base.untrusted import number, text
from ..measures.launches import COLD, MEASURE, PROFILE, START

MAX_SAMPLES = 1_000_000
MAX_ROWS = 100_000


class Record:
    """Gathers a runner's events; lines that are not events are the library's chatter.

    Args:
        mode: the launch's mode; which events must have come by its end depends on it.
    """

    def __init__(self, mode: str = MEASURE) -> None:
        self.mode = mode
        self.phases: dict[str, float] = {}
        self.samples_ms: list[float] = []
        self.fields: dict[str, Any] = {"resources": {}, "library_version": None, "actual": {}}
        self.profile: dict[str, Any] | None = None
        self.phase = "process start"
        self.error: str | None = None
        self.refused: str | None = None
        self.missing = False
        self.has_outputs = False
        self.ended = False

    def take(self, line: str) -> None:
        try:
            event = json.loads(line)
            name = event.pop("event")
            getattr(self, f"_on_{name}")(**event)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return  # not an event

    def _on_start(self, ms: float, pid: int) -> None:
        self.phases["start"] = _latency(ms)
        self.phase = "import"

    def _on_phase(self, name: str) -> None:
        self.phase = text(name, 40)

    def _on_done(self, name: str, ms: float, **more: Any) -> None:
        self.phases[text(name, 40)] = _latency(ms)
        if "library_version" in more:
            self.fields["library_version"] = text(more["library_version"], 100)
        if "actual" in more:
            self.fields["actual"] = _settings(more["actual"])
            if self.fields["actual"].get("emulated") is True:
                self._on_emulated()

    def _on_pinned(self, cores: list[int] | None) -> None:
        self.fields["affinity"] = None if cores is None else [int(core) for core in cores][:1024]

    def _on_page_cache(self, resident_share: float | None) -> None:
        self.fields["page_cache_share"] = number(resident_share)

    def _on_outputs(self) -> None:
        self.has_outputs = True

    def _on_samples(self, ms: list[float], seconds: float) -> None:
        if isinstance(ms, list):
            self.samples_ms = [_latency(value) for value in ms[:MAX_SAMPLES]]
            self.fields["seconds"] = number(seconds)

    def _on_resources(self, **values: Any) -> None:
        self.fields["resources"] |= {
            text(name, 40): number(value) for name, value in values.items()
        }

    def _on_conditions(
        self,
        t_s: list[float],
        metrics: Mapping[str, list[float | None]],
        interval_s: float | None = None,
        power_meter: str | None = None,
    ) -> None:
        """Rows of the sampler: t_s in seconds since the runner began, one column per metric."""
        times = [_known(value) for value in t_s[:MAX_ROWS]]
        columns = {
            text(name, 60): [number(value) for value in values[: len(times)]]
            for name, values in list(metrics.items())[:200]
        }
        if all(len(column) == len(times) for column in columns.values()):
            self.fields["conditions"] = {
                "t_s": times,
                "metrics": columns,
                "interval_s": number(interval_s),
                "power_meter": text(power_meter, 40) if power_meter else None,
            }

    def _on_emulated(self) -> None:
        self.fields["emulated"] = True

    def _on_after(self, **values: Any) -> None:
        self.fields["after"] = _settings(values)

    def _on_operators(self, **profile: Any) -> None:
        self.profile = profile  # checked by cellfarm.measures.operators.profile

    def _on_error(self, kind: str, message: str) -> None:
        self.missing = kind in ("ImportError", "ModuleNotFoundError")
        self.refused = text(message, 500) if kind == "Unsupported" else None
        self.error = text(f"{kind}: {message}", 500)

    def _on_end(self) -> None:
        self.ended = True

    def finish(self, code: int, timed_out: bool, timeout_s: float) -> dict[str, Any]:
        status, reason = self._verdict(code, timed_out, timeout_s)
        return {
            "mode": self.mode,
            "status": status,
            "reason": reason,
            "phases": self.phases,
            "samples_ms": self.samples_ms,
            **self.fields,
        }

    def _verdict(self, code: int, timed_out: bool, timeout_s: float) -> tuple[str, str | None]:
        if timed_out:
            return "timeout", f"no end within {timeout_s:g} s (in phase {self.phase})"
        if self.refused:
            return "unsupported", self.refused
        if self.error:
            where = "the library cannot be imported" if self.missing else f"in phase {self.phase}"
            return "failed", f"{where}: {self.error}"
        if code < 0:
            return "failed", f"killed by {_signal(-code)} in phase {self.phase}"
        if code != 0:
            return "failed", f"ended with code {code} in phase {self.phase}"
        if not self.ended:
            return "failed", f"ended with code 0 in phase {self.phase}, before its work was done"
        return self._completeness()

    def _completeness(self) -> tuple[str, str | None]:
        """Exit code 0 is no proof that anything was done."""
        if self.mode == PROFILE and not self.profile:
            return "failed", "ended with code 0 without a profile"
        if self.mode == PROFILE:
            return "ok", None
        timed = self.mode == MEASURE and not self.fields.get("emulated")
        if not self.has_outputs or (timed and not self.samples_ms):
            return "failed", "ended with code 0 but without samples or output"
        if self.mode in (COLD, START) and "first" not in self.phases:
            return "failed", "ended with code 0 but without a first inference"
        if self.samples_ms and min(self.samples_ms) <= 0:
            return "failed", "a latency of 0: nothing was measured"
        return "ok", None


def _known(value: Any) -> float:
    known = number(value)
    if known is None:
        raise ValueError(f"{value!r:.80} is no number")
    return known


def _latency(value: Any) -> float:
    latency = _known(value)
    if latency < 0:
        raise ValueError(f"{value!r:.80} is no latency")
    return round(latency, 6)


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    return {text(key, 40): _setting(value) for key, value in list(dict(values).items())[:100]}


def _setting(value: Any, deep: bool = True) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if deep and isinstance(value, dict):
        return {text(key, 40): _setting(item, False) for key, item in list(value.items())[:100]}
    if deep and isinstance(value, list):
        return [_setting(item, False) for item in value[:1024]]
    return number(value) if isinstance(value, int | float) else text(value, 200)


def _signal(code: int) -> str:
    try:
        return signal.Signals(code).name
    except ValueError:
        return f"signal {code}"
