"""One launch: a fresh process of the runner for one cell, and what came of it."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import Transport
from .verification import Comparison, compare, read_arrays

MAX_SAMPLES = 1_000_000
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Deployed:
    """What a cell's launches need, as the device names it, and the reference on the host."""

    python: Path
    payload: str
    artifact: str
    inputs: str
    description: Mapping[str, Any]  # model.json
    reference: Mapping[str, np.ndarray]
    classes: bool
    variables: Mapping[str, str]


def launch(
    transport: Transport,
    deployed: Deployed,
    *,
    processor: str,
    threads: int,
    protocol: Mapping[str, Any],
    scratch: str,
    lock: int,
) -> dict[str, Any]:
    """Run one launch and return its record, whatever happened to it.

    Args:
        scratch: a name in the device's work folder for what the runner writes.
        lock: the descriptor of the device's lock, which the runner inherits.

    Returns:
        {"status", "reason", "phases": {name: ms}, "warmup_ms": [...], "warm_ms": [...],
         "resources", "library_version", "actual", "comparison", "log"}
    """
    outputs = f"{scratch}.npz"
    request = {
        "artifact": transport.resolve(deployed.artifact),
        "inputs": transport.resolve(deployed.inputs),
        "outputs": transport.resolve(outputs),
        "processor": processor,
        "threads": threads,
        "model": {name: deployed.description[name] for name in ("inputs", "outputs")},
        "warmup": protocol["warmup"],
        "samples": protocol["samples"],
    }
    record = _Record()
    argv = [str(deployed.python), "-s", "-E", transport.resolve(deployed.payload)]
    started_at = time.time()
    try:
        launched = transport.run(
            argv,
            stdin=lambda spawned_ns: json.dumps(request | {"spawned_ns": spawned_ns}).encode(),
            timeout_s=protocol["launch_timeout_s"],
            variables=_variables(deployed.variables),
            on_line=record.take,
            keep_open=[lock],
        )
        data = transport.read(outputs) if record.has_outputs else None
    finally:
        transport.remove(outputs)
    document = record.finish(launched.code, launched.timed_out, protocol["launch_timeout_s"])
    document["started_at"] = round(started_at, 3)
    if data is not None:
        document["comparison"] = _compare(data, deployed).as_dict()
    if document["status"] != "ok":
        document["log"] = launched.log[-8000:]
    return document


class _Record:
    """Gathers the runner's events; lines that are not events are the library's chatter."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.samples: dict[str, list[float]] = {"warmup": [], "warm": []}
        self.fields: dict[str, Any] = {"resources": {}, "library_version": None, "actual": {}}
        self.phase = "process start"
        self.error: str | None = None
        self.missing = False
        self.has_outputs = False
        self.ended = False

    def take(self, line: str) -> None:
        try:
            event = json.loads(line)
            name = event.pop("event")
            getattr(self, f"_on_{name}")(**event)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return  # nothing from a device is trusted: what does not fit is not an event

    def _on_start(self, ms: float, pid: int) -> None:
        self.phases["start"] = _latency(ms)
        self.phase = "import"

    def _on_phase(self, name: str) -> None:
        self.phase = _text(name, 40)

    def _on_done(self, name: str, ms: float, **more: Any) -> None:
        self.phases[_text(name, 40)] = _latency(ms)
        if "library_version" in more:
            self.fields["library_version"] = _text(more["library_version"], 100)
        if "actual" in more:
            settings = dict(more["actual"])
            self.fields["actual"] = {_text(key, 40): _setting(settings[key]) for key in settings}
            self.fields["resources"]["load_rss_mb"] = _number(more.get("rss_mb"))

    def _on_outputs(self) -> None:
        self.has_outputs = True

    def _on_samples(self, phase: str, ms: list[float]) -> None:
        if phase in self.samples and isinstance(ms, list):
            self.samples[phase] = [_latency(value) for value in ms[:MAX_SAMPLES]]

    def _on_resources(self, **values: Any) -> None:
        self.fields["resources"] |= {
            _text(name, 40): _number(value) for name, value in values.items()
        }

    def _on_error(self, kind: str, message: str) -> None:
        self.missing = kind in ("ImportError", "ModuleNotFoundError")
        self.error = _text(f"{kind}: {message}", 500)

    def _on_end(self) -> None:
        self.ended = True

    def finish(self, code: int, timed_out: bool, timeout_s: float) -> dict[str, Any]:
        status, reason = self._verdict(code, timed_out, timeout_s)
        return {
            "status": status,
            "reason": reason,
            "phases": self.phases,
            "warmup_ms": self.samples["warmup"],
            "warm_ms": self.samples["warm"],
            **self.fields,
        }

    def _verdict(self, code: int, timed_out: bool, timeout_s: float) -> tuple[str, str | None]:
        if timed_out:
            return "timeout", f"no end within {timeout_s:g} s (in phase {self.phase})"
        if self.error:
            what = (
                "the library cannot be imported: " if self.missing else f"in phase {self.phase}: "
            )
            return "failed", what + self.error
        if code < 0:
            return "failed", f"killed by {_signal(-code)} in phase {self.phase}"
        if code != 0:
            return "failed", f"ended with code {code} in phase {self.phase}"
        if not self.ended:
            return "failed", f"ended with code 0 in phase {self.phase}, before its work was done"
        if not self.samples["warm"] or not self.has_outputs:
            return "failed", "ended with code 0 but without samples or output"
        if min(self.samples["warm"]) <= 0:
            return "failed", "a latency of 0: nothing was measured"
        return "ok", None


def _latency(value: Any) -> float:
    number = _number(value)
    if number is None or number < 0:
        raise ValueError(f"{value!r:.80} is no latency")
    return round(number, 6)


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else (JSON from a device may hold NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _text(value: Any, limit: int) -> str:
    """One line that can be written as UTF-8 (JSON from a device may hold half a surrogate pair)."""
    return " ".join(str(value).split())[:limit].encode(errors="replace").decode()


def _setting(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return _number(value) if isinstance(value, int | float) else _text(value, 200)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _compare(data: bytes, deployed: Deployed) -> Comparison:
    try:
        return compare(read_arrays(data), deployed.reference, deployed.classes)
    except ValueError as error:
        return Comparison(problem=str(error))


def _variables(extra: Mapping[str, str]) -> dict[str, str]:
    """A launch sees only these: a stray OMP_NUM_THREADS of the user's must not change results."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    kept["HOME"] = os.environ.get("HOME", "/nonexistent")
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | dict(extra)
