"""Makes results as experiments store them, one per cell and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cellfarm.base.cells import Cell
from cellfarm.base.digests import digest
from cellfarm.base.project import Project
from cellfarm.store.results import render

from tests.support.results import FACTS, RIGHT, make_cell, make_launch

#: The causes that all measures of a cell share.
COMMON = ("model", "exporter", "converter", "library", "device", "protocol", "verification")


@dataclass(frozen=True)
class Made:
    """A cell with the keys of its results; another `salt` stands for changed causes."""

    cell: Cell = field(default_factory=make_cell)
    salt: str = ""
    measures: tuple[str, ...] = ("latency", "cold_start")
    #: Measures whose own code or settings changed.
    changed: tuple[str, ...] = ()

    def causes(self, measure: str) -> dict[str, str]:
        cause = f"{measure} changed" if measure in self.changed else measure
        return dict.fromkeys(COMMON, f"d{self.salt}") | {"measure": cause}

    @property
    def keys(self) -> dict[str, str]:
        """measure -> the key of its result"""
        return {
            measure: digest([self.cell.as_dict(), measure, self.causes(measure)])
            for measure in self.measures
        }

    @property
    def key(self) -> str:
        """The key of the cell's current results."""
        return digest(self.keys)

    def path(self, project: Project, measure: str = "latency") -> Path:
        folder = project.cells / self.cell.folder
        return folder / f"{measure}-{self.keys[measure]}.json"

    def commit(
        self, project: Project, launches: Sequence[dict[str, Any]] | None = None, **changes: Any
    ) -> None:
        """Store a result of each measure from the launches of a timing measure."""
        own_launches = list(launches) if launches is not None else [make_launch(), make_launch()]
        for measure in self.measures:
            self.store(project, measure, *_of(measure, own_launches), **changes)

    def store(
        self,
        project: Project,
        measure: str,
        columns: Mapping[str, Any],
        launches: Sequence[dict[str, Any]] = (),
        **changes: Any,
    ) -> None:
        """Store one result; `changes` replaces fields of its header or body."""
        header: dict[str, Any] = {
            "schema": 3,
            "key": self.keys[measure],
            "measure": measure,
            "cell": self.cell.as_dict(),
            "causes": self.causes(measure),
            "status": "ok",
            "reason": None,
            "flags": [],
            "measured_at": "2026-11-22T10:00:00+00:00",
            "experiment": "abcdef/host/model",
        }
        body: dict[str, Any] = {
            "protocol": "quick",
            "settings": {},
            "columns": dict(columns),
            "emulated": False,
            "artifact_bytes": None,
            "artifact_seconds": None,
            "payload_bytes": 1000,
            "ids": {},
            "device_facts": FACTS,
            "log": "",
            "drift": None,
            "launches": list(launches),
        }
        header |= {name: value for name, value in changes.items() if name in header}
        body |= {name: value for name, value in changes.items() if name not in header}
        if header["status"] not in ("ok", "wrong"):
            body["columns"] = {}
        path = self.path(project, measure)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(header, body), encoding="utf-8")


def _of(
    measure: str, launches: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns and launches of a measure."""
    if measure == "cold_start":
        phases = [launch["phases"] for launch in launches]
        names = phases[0] if phases else {}
        columns = {
            f"cold_{name}_ms": median(times[name] for times in phases if name in times)
            for name in names
        }
        columns["cold_total_ms"] = sum(columns.values())
        light = (
            "round",
            "session",
            "mode",
            "status",
            "reason",
            "phases",
            "resources",
            "started_at",
        )
        return columns, [
            {name: launch[name] for name in light} | {"shared_with": "latency"}
            for launch in launches
        ]
    warm = [launch["warm_ms"] for launch in launches]
    comparison = launches[0]["comparison"] or RIGHT.as_dict() if launches else {}
    shared = ("cosine", "max_abs_error", "top1_match")
    return {
        "latency_ms": median(median(ms) for ms in warm) if all(warm) and warm else None,
        "launches": len(launches),
        "samples": sum(map(len, warm)),
        **{name: comparison.get(name) for name in shared},
    }, list(launches)
