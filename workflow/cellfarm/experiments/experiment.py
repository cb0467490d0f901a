"""An experiment measures all stale cells of one model on one device, in interleaved rounds."""

from __future__ import annotations

import datetime
import json
import secrets
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.files import write_atomically
from ..base.project import Project
from ..base.records import read_record
from ..devices.activity import DeviceState
from ..measures import all_measures
from ..measures.hosts import host_of
from ..measures.launches import is_emulated
from ..planning.plan import ExperimentStep, Plan, PlannedCell
from ..store.results import Store
from .deployment import model_id
from .progress import Progress
from .summarising import Result

SCHEMA = 3


class Experiment:
    """Measures one model on one device under a frozen plan.

    Args:
        step: which of the plan's experiments.
    """

    def __init__(
        self, project: Project, plan: Plan, step: ExperimentStep, log: Path | None = None
    ) -> None:
        self.project = project
        self.plan = plan
        self.step = step
        self.device = step.device
        self.model = step.model
        self.name = f"{plan.id}/{step.id}"
        self.protocol = plan.protocol
        #: Names this process; process ids repeat when a container starts again.
        self.session = secrets.token_hex(8)
        self.store = Store(project.cells)
        self.cells = [plan.cells[position] for position in step.cells]
        results: dict[str, list[list[Path]]] = {}
        for planned in plan.cells:
            paths = [
                self.store.path(planned.cell, measure, planned.measures[measure])
                for measure in planned.stale
            ]
            results.setdefault(planned.cell.device, []).append(paths)
        least = self.min_launches(self.protocol.measures)
        state = DeviceState(project, self.device)
        self.progress = Progress(self.model, self.device, results, least, state, log)

    def settings(self, measure: str) -> Any:
        """The protocol's settings of a measure."""
        return host_of(measure).settings(self.protocol.measures[measure])

    def min_launches(self, measures: Iterable[str]) -> int:
        """The launches in rounds that measures of a cell need at least."""
        return sum(host_of(name).min_launches(self.settings(name)) for name in measures)

    @property
    def tolerance(self) -> float:
        """The largest departure of the device's speed at which a latency is trusted, as a share."""
        measures = self.protocol.measures
        shares = (getattr(self.settings(name), "target_half_width", 0.0) for name in measures)
        return max(shares, default=0.0)

    def commit(
        self,
        planned: PlannedCell,
        results: Sequence[Result],
        facts: Mapping[str, Any],
        **more: Any,
    ) -> None:
        """Put the results of a cell into the store."""
        cell = planned.cell
        artifact = read_record(self.project.root / planned.artifact)
        for result in results:
            key = planned.measures[result.measure]
            if self.store.has(cell, result.measure, key):
                continue  # an earlier attempt at this plan was killed between two results
            header = {
                "schema": SCHEMA,
                "key": key,
                "measure": result.measure,
                "cell": cell.as_dict(),
                "causes": planned.causes[result.measure],
                "status": result.status,
                "reason": result.reason,
                "flags": list(result.flags),
                "measured_at": now(),
                "experiment": self.name,
            }
            body = {
                "protocol": self.plan.protocol_name,
                "settings": self.protocol.common() | self.protocol.measures[result.measure],
                "columns": dict(result.columns),
                "emulated": is_emulated(result.launches),
                "artifact_bytes": artifact.bytes if artifact else None,
                "artifact_seconds": artifact.seconds if artifact else None,
                "ids": {
                    "model": model_id(planned),
                    "artifact": planned.artifact.rpartition("/")[2],
                },
                "device_facts": dict(facts),
                "log": result.log,
                "launches": list(result.launches),
                **result.more,
                **more,
            }
            self.store.commit(cell, result.measure, key, header, body)
        essential = [result for result in results if all_measures()[result.measure].essential]
        bad = (result for result in essential if result.status != "ok")
        worst = next(bad, (essential or list(results))[0])
        flags = sorted({flag for result in results for flag in result.flags})
        columns = ChainMap(*(dict(result.columns) for result in results))
        self.progress.finished(cell, worst.status, worst.reason, flags, columns.get("latency_ms"))

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the experiment's record with the status of each of its results."""
        statuses: dict[str, dict[str, str]] = {}
        for planned in self.cells:
            for measure, key in planned.measures.items():
                if self.store.has(planned.cell, measure, key):
                    header = self.store.header(planned.cell, measure, key)
                    statuses.setdefault(planned.key, {})[measure] = header["status"]
        document = {
            "plan": self.plan.id,
            "device": self.device,
            "model": self.model,
            "ended_at": now(),
            "seed": self.protocol.seed,
            **record,
            "cells": statuses,
        }
        write_atomically(
            self.project.root / self.step.output, json.dumps(document, indent=1) + "\n"
        )


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
