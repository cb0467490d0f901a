"""Experiments without a device: the launches' results are made up, the rest is the real code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.project import Project
from cellfarm.devices import Transport
from cellfarm.experiments import measuring as module
from cellfarm.experiments.deployed import Deployed
from cellfarm.experiments.journal import Journal
from cellfarm.experiments.measuring import Measuring
from cellfarm.experiments.patience import Patience
from cellfarm.experiments.running_cell import Running
from cellfarm.planning.plan import PlannedCell

from tests.support.protocols import protocol_of
from tests.support.results import FACTS, PROTOCOL, make_experiment, make_launch, make_plan

#: mode -> fields of a launch's record in addition to the common ones.
_OF_MODE: dict[str, dict[str, Any]] = {
    "quality": {"quality": {"samples": 2, "cosine": 1.0, "sqnr_db": 100.0, "top1_agreement": 1.0}},
    "profile": {"profile": {"operators": [], "sum_ms": 10.0}},
    "accuracy": {"accuracy": {"problem": "made up"}},
}
#: The fields that the experiment adds to a launch's record.
_OF_THE_EXPERIMENT = ("round", "session", "gate")


class Killed(Exception):
    """The measuring process is killed."""


@dataclass
class MadeUp:
    """A device on which every launch succeeds at once, unless `launches` says otherwise.

    Args:
        launches: (cell, mode, number of earlier launches) -> changes of the launch's record.
        limit: the number of launches after which the process is killed.
        facts: the device's facts in addition to FACTS.

    Attributes:
        made: cell and mode of each launch, in order.
    """

    project: Project
    monkeypatch: pytest.MonkeyPatch
    launches: Callable[[Cell, str, int], dict[str, Any]] = lambda cell, mode, number: {}
    protocol: dict[str, Any] = field(default_factory=lambda: PROTOCOL)
    limit: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    made: list[tuple[Cell, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def modes(self) -> list[str]:
        return [mode for _, mode in self.made]

    def measure(self, *planned: PlannedCell) -> None:
        """Measure cells of one model on one device; they may be partly measured already.

        Raises:
            Killed: the limit is reached.
        """
        self.monkeypatch.setattr(module, "launch", self._launch)
        with contextlib.redirect_stderr(io.StringIO()):
            plan = make_plan(*planned, protocol=protocol_of(self.protocol))
            experiment = make_experiment(self.project, plan)
            none = cast(Transport, None)
            facts = FACTS | self.facts
            measuring = Measuring(experiment, none, facts, 0, Patience(0, print))
            cast(Any, measuring.gates).pass_through = lambda *arguments: {}
            for planned_cell in planned:
                journal = Journal(self.project.journal(planned_cell.cell.device, planned_cell.key))
                measuring.running[planned_cell.key] = Running(
                    planned_cell, cast(Deployed, _DEPLOYED), None, journal, journal.read()
                )
            measuring.run()

    def _launch(self, setting: Any, deployed: Any, cell: Cell, **options: Any) -> dict[str, Any]:
        if self.limit is not None and len(self.made) >= self.limit:
            raise Killed
        mode = options["mode"]
        changes = self.launches(cell, mode, len(self.made))
        self.made.append((cell, mode))
        self.asked.append(options)
        record = make_launch(mode=mode, **{**_OF_MODE.get(mode, {}), **changes})
        return {name: record[name] for name in record if name not in _OF_THE_EXPERIMENT}


#: A vendor's tool: with it, the experiment does not measure the device's peak performance.
_DEPLOYED = SimpleNamespace(payload_bytes=1000, tool=object())
