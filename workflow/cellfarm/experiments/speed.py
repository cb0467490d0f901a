"""The speed of a device in an experiment, from its gates, against the earlier experiments."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.digests import digest
from ..devices.facts import fingerprint
from . import drift


@dataclass
class DeviceSpeed:
    """The calibration readings of one experiment.

    Args:
        path: the device's file of calibrations.
        experiment: its name.
        resting_c: temperature by zone when the device is at rest; empty if that is not known yet.
    """

    path: Path
    experiment: str
    fingerprint: str
    earlier: list[drift.Calibration]
    resting_c: Mapping[str, float]
    identity: str = ""
    compute_ms: dict[int, list[float]] = field(default_factory=dict)
    memory_ms: dict[int, list[float]] = field(default_factory=dict)
    coolest_c: dict[str, float] = field(default_factory=dict)
    began_at: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    @classmethod
    def open(cls, path: Path, experiment: str, facts: Mapping[str, Any]) -> DeviceSpeed:
        """The speed of an experiment that begins, with the readings of earlier experiments."""
        earlier = drift.read(path)
        device = digest(fingerprint(facts))
        resting = drift.resting_c(earlier, device, excluding=experiment)
        return cls(path, experiment, device, earlier, resting)

    def add(self, threads: int, gate: Mapping[str, Any]) -> None:
        """Add the readings of a gate; a gate with a limit exceeded has no valid calibration."""
        calibration = {} if gate.get("exceeded") else gate.get("calibration") or {}
        for name, readings in (("compute_ms", self.compute_ms), ("memory_ms", self.memory_ms)):
            if calibration.get(name):
                readings.setdefault(threads, []).append(calibration[name])
        self.identity = gate.get("identity") or self.identity
        for zone, value in (gate.get("temperatures_c") or {}).items():
            self.coolest_c[zone] = min(value, self.coolest_c.get(zone, value))

    def departure(self, threads: int, tolerance: float) -> dict[str, Any] | None:
        """The departure of the readings so far (see cellfarm.experiments.drift.departure)."""
        baseline_ms = drift.baseline(
            self.earlier, self.identity, self.fingerprint, threads, excluding=self.experiment
        )
        departure = drift.departure(self.compute_ms.get(threads, []), baseline_ms, tolerance)
        return departure.as_dict() if departure else None

    def save(self) -> None:
        """Leave the readings for later experiments.

        Raises:
            OSError: they could not be written.
        """
        if self.compute_ms:
            drift.append(
                self.path,
                drift.Calibration(
                    self.experiment, self.began_at, self.fingerprint, self.identity,
                    self.compute_ms, self.memory_ms, self.coolest_c,
                ),
            )  # fmt: skip

    def as_dict(self, tolerance: float) -> dict[str, Any]:
        """For the experiment's record; `tolerance` as for `departure`."""
        return {
            "identity": self.identity,
            "compute_ms": self.compute_ms,
            "memory_ms": self.memory_ms,
            "coolest_c": self.coolest_c,
            "departures": {
                threads: self.departure(threads, tolerance) for threads in self.compute_ms
            },
        }
