"""Drift: the speed of a device in this experiment against its speed in earlier experiments.

Every gate runs a small fixed calibration load. A file of the device keeps the readings, one line per
experiment; results of different experiments are comparable only through them.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..analysis.statistics import hierarchical_median

#: So many of the last experiments make the baseline, so that it follows a device that changes for good.
REMEMBERED = 20
#: An experiment with fewer readings says too little about a device.
LEAST_READINGS = 5


@dataclass(frozen=True)
class Calibration:
    """The calibration load of one experiment.

    Args:
        experiment: its name; a later record with the same name replaces an earlier one.
        at: when it began, ISO 8601.
        fingerprint: digest of the device's facts.
        identity: of the load; other loads are not comparable.
        compute_ms, memory_ms: the readings by number of threads.
        temperatures_c: the coolest reading by zone.
    """

    experiment: str
    at: str
    fingerprint: str
    identity: str
    compute_ms: Mapping[int, Sequence[float]]
    memory_ms: Mapping[int, Sequence[float]] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Departure:
    """An experiment against the baseline: above 1 it is slower.

    low and high are the 95 % interval; with one reading they are None, and `departs` is False.
    """

    ratio: float
    low: float | None
    high: float | None
    departs: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def append(path: Path, record: Calibration) -> None:
    """Add a record as one line, and have it on the disk before returning.

    Raises:
        OSError: it could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(record), allow_nan=False).encode() + b"\n"
    with path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line  # ends a torn line, which `read` leaves out
        file.write(line)
        os.fsync(file.fileno())


def read(path: Path) -> list[Calibration]:
    """The records in order, without lines that are torn or of another version of cellfarm."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    records: dict[str, Calibration] = {}
    for line in lines:
        record = _parse(line)
        if record:
            records.pop(record.experiment, None)
            records[record.experiment] = record
    return list(records.values())


def baseline(
    records: Iterable[Calibration],
    identity: str,
    fingerprint: str,
    threads: int,
    *,
    excluding: str | None = None,
) -> float | None:
    """The baseline in ms: the median over the last experiments on the same device with the same load.

    Args:
        excluding: the present experiment, which may have a record already.

    Returns:
        None without such an experiment.
    """
    medians = [
        median(record.compute_ms[threads])
        for record in _comparable(records, identity, fingerprint, excluding)
        if len(record.compute_ms.get(threads, ())) >= LEAST_READINGS
    ][-REMEMBERED:]
    return median(medians) if medians else None


def departure(
    current: Sequence[float], baseline_ms: float | None, tolerance: float
) -> Departure | None:
    """Whether the device ran at another speed than its baseline.

    It departs when the whole interval of the ratio lies outside [1 / (1 + tolerance),
    1 + tolerance]. The interval is that of the experiment's median (see analysis.statistics); the
    baseline is taken as fixed.

    Args:
        current: the experiment's readings in ms.
        baseline_ms: None if it is the first experiment.
        tolerance: a share, above 0; the protocol's target half-width.

    Returns:
        None without a baseline or without readings.
    """
    if baseline_ms is None or not current:
        return None
    estimate = hierarchical_median([[value] for value in current], "drift")
    ratio = estimate.median / baseline_ms
    if estimate.low is None or estimate.high is None:
        return Departure(ratio, None, None, False)
    low, high = estimate.low / baseline_ms, estimate.high / baseline_ms
    return Departure(ratio, low, high, low > 1 + tolerance or high < 1 / (1 + tolerance))


def resting_c(
    records: Iterable[Calibration], fingerprint: str, *, excluding: str | None = None
) -> dict[str, float]:
    """The device's temperature at rest, by zone: the median over experiments of their coolest reading."""
    zones = defaultdict(list)
    for record in list(_comparable(records, None, fingerprint, excluding))[-REMEMBERED:]:
        for zone, value in record.temperatures_c.items():
            zones[zone].append(value)
    return {zone: median(values) for zone, values in zones.items()}


def _comparable(
    records: Iterable[Calibration], identity: str | None, fingerprint: str, excluding: str | None
) -> Iterable[Calibration]:
    for record in records:
        same = record.fingerprint == fingerprint and identity in (None, record.identity)
        if same and record.experiment != excluding:
            yield record


def _parse(line: bytes) -> Calibration | None:
    try:
        document = json.loads(line)
        return Calibration(
            experiment=str(document["experiment"]),
            at=str(document["at"]),
            fingerprint=str(document["fingerprint"]),
            identity=str(document["identity"]),
            compute_ms=_by_threads(document["compute_ms"]),
            memory_ms=_by_threads(document.get("memory_ms") or {}),
            temperatures_c={
                str(zone): float(value)
                for zone, value in (document.get("temperatures_c") or {}).items()
                if math.isfinite(value)
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _by_threads(document: Mapping[str, Any]) -> dict[int, list[float]]:
    readings = {}
    for threads, values in document.items():
        if not isinstance(values, list):
            raise ValueError("readings are no list")
        numbers = [float(value) for value in values]
        if not all(0 < value < float("inf") for value in numbers):
            raise ValueError("a reading is no time")
        readings[int(threads)] = numbers
    return readings
