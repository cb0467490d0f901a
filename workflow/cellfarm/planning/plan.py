"""The frozen plan: one typed document that every job of a run reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..base.cells import Cell
from ..base.code import PlannedCode
from ..base.errors import UserError
from ..base.files import write_atomically
from ..base.names import Precision
from ..base.project import Project
from ..conversion.steps import (
    ArtifactStep,
    DeriveStep,
    DownloadStep,
    EnvironmentStep,
    ExportStep,
    ModelStep,
    Step,
)
from ..measures.tolerances import Tolerance
from ..wanted.devices import AnyDevice
from ..wanted.protocols import Protocol
from ..wanted.recipes import Recipe
from .needs import Needs


class PlannedCell(Struct, frozen=True, omit_defaults=True):
    """A cell with everything that its measurement needs.

    Args:
        key: of the cell, from those of its results.
        measures: measure -> the key of its result.
        stale: the measures that have no result, each with the reason.
        causes: of the stale measures the digests that make their keys.
        model: the folder of the model that it runs, built or derived.
        artifact: the folder of the artifact.
        refusal: why it cannot be launched at all.
    """

    cell: Cell
    key: str
    measures: dict[str, str]
    model: str
    artifact: str
    needs: Needs
    refusal: str | None = None
    stale: dict[str, str] = {}
    causes: dict[str, dict[str, str]] = {}

    @property
    def reason(self) -> str:
        """Why it must be measured, in words."""
        by_reason: dict[str, list[str]] = {}
        for measure, why in self.stale.items():
            by_reason.setdefault(why, []).append(measure)
        if len(by_reason) == 1 and len(self.stale) == len(self.measures):
            return next(iter(by_reason))
        return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())


class ExperimentStep(Step, frozen=True, kw_only=True):
    """The stale cells of one model on one device are measured together; the id is device/model.

    Args:
        cells: positions in the plan's cells.
    """

    device: str
    model: str
    cells: tuple[int, ...]


class Plan(Struct, frozen=True, omit_defaults=True):
    """What a run does, frozen: whatever happens to the files meanwhile, its jobs read this.

    Args:
        id: the digest of the rest.
        current: what is wanted by the config, stale or not (see `Current`).
        attempt: tells plans apart that measure the same cells again (deleted, or set aside).
        runners: library -> what goes to a device for it.
        preparation: the records that must be there before the cells are measured.
    """

    id: str
    current: str
    attempt: int
    protocol_name: str
    protocol: Protocol
    tolerances: dict[str, Tolerance]
    precisions: dict[str, Precision]
    tools: dict[str, dict[str, str]]
    runners: dict[str, PlannedCode]
    models: dict[str, Recipe]
    devices: dict[str, AnyDevice]
    cells: tuple[PlannedCell, ...]
    environment: dict[str, EnvironmentStep]
    download: dict[str, DownloadStep]
    model: dict[str, ModelStep]
    derived: dict[str, DeriveStep]
    export: dict[str, ExportStep]
    artifact: dict[str, ArtifactStep]
    experiment: dict[str, ExperimentStep]
    preparation: tuple[str, ...] = ()

    def steps(self, kind: str) -> Mapping[str, Step]:
        """The steps of a kind by their ids."""
        steps: Mapping[str, Step] = getattr(self, kind)
        return steps

    def step(self, kind: str, step_id: str) -> Step:
        """A step.

        Raises:
            UserError: the plan has none of that id.
        """
        try:
            return self.steps(kind)[step_id]
        except KeyError:
            raise UserError(f"results/plans/{self.id}.json: no {kind} {step_id}") from None


class Current(Struct, frozen=True):
    """What is wanted now: the cells with their keys and those of their results by measure, and the facts of
    their devices."""

    cells: list[tuple[Cell, str, dict[str, str]]]
    devices: dict[str, dict[str, Any]]

    @property
    def results(self) -> dict[str, dict[str, str]]:
        """Key of a cell -> measure -> key of its result."""
        return {key: measures for _, key, measures in self.cells}


def save(project: Project, plan: Plan) -> Path:
    """Write a frozen plan under its id; jobs on other machines read it."""
    path = project.plans / f"{plan.id}.json"
    if not path.exists():
        write_atomically(path, msgspec.json.encode(plan).decode() + "\n")
    return path


def load(project: Project, plan_id: str) -> Plan:
    """A frozen plan.

    Raises:
        UserError: there is none of that id.
    """
    path = project.plans / f"{plan_id}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{project.relative(path)}: not a plan: {error}") from error


def has_current(project: Project, name: str) -> bool:
    """Whether what is wanted was written down under this name."""
    return _current_path(project, name).is_file()


def save_current(project: Project, name: str, wanted: Current) -> None:
    """Write down what is wanted, for whoever loads the warehouse."""
    write_atomically(_current_path(project, name), msgspec.json.encode(wanted).decode() + "\n")


def load_current(project: Project, name: str) -> Current:
    """What is wanted now, as a run wrote it down.

    Raises:
        UserError: nothing was planned under this name.
    """
    path = _current_path(project, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Current)
    except (OSError, msgspec.MsgspecError):
        raise UserError(f"{project.relative(path)} is gone: start again") from None


def _current_path(project: Project, name: str) -> Path:
    return project.plans / f"current-{name}.json"
