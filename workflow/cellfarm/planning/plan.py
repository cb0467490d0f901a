"""The plan: the cells of a configuration, their keys, which are stale and why; and the frozen document that
every job of a run reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..base.cells import Cell
from ..base.code import PlannedCode
from ..base.digests import DIGEST_LENGTH, digest
from ..base.errors import OutOfServiceError, PermanentError, TransientError, UserError
from ..base.files import read_object, write_atomically
from ..base.names import Precision
from ..base.project import Project
from ..base.records import RECORD
from ..conversion.steps import (
    ArtifactStep,
    DeriveStep,
    DownloadStep,
    EnvironmentStep,
    ExportStep,
    ModelStep,
    Step,
)
from ..devices import open_device, refuse_low_battery
from ..envs.environments import ensure_locks
from ..libraries import all_libraries, resolve
from ..measures import all_measures
from ..measures.hosts import host_of
from ..measures.tolerances import Tolerance
from ..store.results import Store, read_header
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.devices import AnyDevice
from ..wanted.protocols import Protocol
from ..wanted.recipes import Recipe
from . import keys
from .causes import Causes, payload_code
from .chains import Chains
from .matrix import expand
from .needs import Needs, needs_of, refusal_of

NEW = "no result yet"
#: Devices that are asked for their facts at a time.
_AT_ONCE = 16


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


@dataclass(frozen=True)
class Outlook:
    """Everything that a configuration asks for, and what of it has no result.

    `skipped` are devices that this run does without, each with the reason; `left_undone` are those of
    them that have stale cells and are not out of service on purpose. `stamps` are the keys of all
    results with the time at which they were written, 0 of those that are not there.
    """

    configuration: Configuration
    cells: list[PlannedCell]
    chains: Chains
    facts: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    skipped: Mapping[str, PermanentError | TransientError] = field(default_factory=dict)
    stamps: list[tuple[str, int]] = field(default_factory=list)

    @cached_property
    def stale(self) -> list[PlannedCell]:
        return [
            planned
            for planned in self.cells
            if planned.stale and planned.cell.device not in self.skipped
        ]

    @property
    def left_undone(self) -> dict[str, PermanentError | TransientError]:
        stale = {planned.cell.device for planned in self.cells if planned.stale}
        # Of a device of which nothing was ever read no cell is planned, and none measured.
        stale |= self.skipped.keys() - self.facts.keys()
        return {
            name: error
            for name, error in self.skipped.items()
            if name in stale and not isinstance(error, OutOfServiceError)
        }

    @cached_property
    def experiments(self) -> dict[tuple[str, str], list[PlannedCell]]:
        groups: dict[tuple[str, str], list[PlannedCell]] = {}
        for planned in self.stale:
            groups.setdefault((planned.cell.device, planned.cell.model), []).append(planned)
        return groups

    @cached_property
    def current(self) -> str:
        """The digest of what is wanted: it decides which results are current."""
        return digest(sorted(planned.key for planned in self.cells))

    def wanted(self) -> Current:
        """What is wanted now, for whoever loads the warehouse."""
        cells = [(planned.cell, planned.key, planned.measures) for planned in self.cells]
        return Current(cells, dict(self.facts))


def look(project: Project, configuration: Configuration) -> Outlook:
    """Plan a configuration; reads small files only.

    Raises:
        UserError: an unknown library or version, an exclude entry that matches nothing.
    """
    facts, skipped = read_all_facts(project, configuration)
    where = configuration.where
    # Of a device that nothing is known of the cells are told apart and then left out.
    cores = dict.fromkeys(configuration.devices, 1) | {
        name: int(known["cores"]) for name, known in facts.items()
    }
    try:
        cells = expand(configuration.config, resolve, cores, where)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
    if not cells:
        raise UserError(f"{where}: exclude takes away every cell: there is nothing to measure")
    cells = [cell for cell in cells if cell.device in facts]
    if not cells:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"{where}: no device can be used ({reasons})")
    ensure_locks(project, sorted({(cell.library, cell.library_version) for cell in cells}))
    chains = Chains(project, configuration)
    causes = Causes(project, configuration, facts)
    planner = _Planner(configuration, chains, causes, facts, Store(project.cells))
    planned = [planner.plan(cell) for cell in cells]
    return Outlook(configuration, planned, chains, facts, skipped, planner.stamps)


class _Planner:
    """Plans cells; what several cells share is worked out once."""

    def __init__(
        self,
        configuration: Configuration,
        chains: Chains,
        causes: Causes,
        facts: Mapping[str, dict[str, Any]],
        store: Store,
    ) -> None:
        self._configuration = configuration
        self._chains = chains
        self._causes = causes
        self._facts = facts
        self._store = store
        self._needs: dict[tuple[str, str, str, str | None], Needs] = {}
        self._measures = {
            name: tuple(
                measure for measure in configuration.protocol.measures if _is_asked(measure, recipe)
            )
            for name, recipe in configuration.models.items()
        }
        self.stamps: list[tuple[str, int]] = []

    def plan(self, cell: Cell) -> PlannedCell:
        variant = self._configuration.variants[cell.variant]
        program = self._chains.program(cell.model, variant)
        artifact = self._chains.artifact(program, variant, cell.library, cell.library_version)
        device, facts = self._configuration.devices[cell.device], self._facts[cell.device]
        place = (cell.device, cell.library, cell.library_version, artifact.source_format)
        if place not in self._needs:
            self._needs[place] = needs_of(
                device, facts, cell.library, cell.library_version, artifact.source_format
            )
        folder = cell.folder
        measures = {
            measure: keys.result_key(
                folder, measure, self._causes.text(cell, program, artifact, measure)
            )
            for measure in self._measures[cell.model]
        }
        stamps = self._store.stamps(cell, measures)
        self.stamps += [(key, stamps[measure]) for measure, key in measures.items()]
        causes = {
            measure: self._causes.of(cell, program, artifact, measure)
            for measure, stamp in stamps.items()
            if not stamp
        }
        library = all_libraries()[cell.library]
        return PlannedCell(
            cell=cell,
            key=keys.cell_key(measures),
            measures=measures,
            model=program.step.folder,
            artifact=artifact.folder,
            needs=self._needs[place],
            refusal=refusal_of(cell, variant, library, device, facts, artifact.tools),
            stale={
                measure: _reason(cell, measure, own, self._store) for measure, own in causes.items()
            },
            causes=causes,
        )


def _is_asked(measure: str, recipe: Recipe) -> bool:
    """Whether a model is asked a measure's question."""
    tasks = all_measures()[measure].tasks
    if tasks and recipe.task not in tasks:
        return False
    return host_of(measure).applies(labelled=recipe.labelled is not None)


def _reason(cell: Cell, measure: str, causes: Mapping[str, str], store: Store) -> str:
    """Why a measure of a cell has no result under its key: what differs from the newest that it does
    have."""
    for path in reversed(store.older(cell, measure)):
        try:
            before = read_header(path)["causes"]
        except (OSError, ValueError, KeyError):
            continue
        return keys.changes(before, causes) or "a retry was asked for"
    return "new version of the library" if store.other_versions(cell) else NEW


def read_all_facts(
    project: Project, configuration: Configuration
) -> tuple[dict[str, dict[str, Any]], dict[str, PermanentError | TransientError]]:
    """The devices' facts, asked all at once; and of those that cannot be used, why.

    Of such a device the facts are those of the last time that it answered, if it ever did: its
    results stay current.
    """
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, PermanentError | TransientError] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {
            name: pool.submit(_ask, project, device)
            for name, device in configuration.devices.items()
        }
        for name, answer in asked.items():
            kept = project.results / "devices" / f"{name}.facts.json"
            try:
                facts[name] = answer.result()
            except (TransientError, PermanentError) as error:
                skipped[name] = error
                last = read_object(kept)
                if last is not None:
                    facts[name] = last
                continue
            is_remote = not configuration.devices[name].is_local
            if is_remote and read_object(kept) != facts[name]:
                write_atomically(kept, msgspec.json.encode(facts[name]).decode() + "\n")
    return facts, skipped


def _ask(project: Project, device: AnyDevice) -> dict[str, Any]:
    if device.out_of_service:
        raise OutOfServiceError(f"out of service: {device.out_of_service}")
    transport = open_device(device, project)
    try:
        facts = transport.facts()
    finally:
        transport.close()
    refuse_low_battery(device, facts)
    return facts


def freeze(outlook: Outlook, attempt: int = 0) -> Plan:
    """Everything that the jobs of a run need to know, whatever happens to the files meanwhile."""
    configuration, chains = outlook.configuration, outlook.chains
    config, stale = configuration.config, tuple(outlook.stale)
    steps: dict[str, Step] = {}
    inputs: dict[int, tuple[str, ...]] = {}
    for position, planned in enumerate(stale):
        if planned.refusal is None:
            on_device = (planned.needs.python, planned.needs.run)
            names = [name for name in on_device if name]
            for step in chains.steps_of(planned.artifact, names):
                steps.setdefault(step.output, step)
            environments = (chains.environment(name).output for name in names)
            inputs[position] = (*environments, f"{planned.artifact}/{RECORD}")
    kinds: dict[str, dict[str, Step]] = {kind: {} for kind in _KINDS}
    for step in steps.values():
        kinds[_KIND_OF[type(step)]][step.id] = step
    variants = sorted({planned.cell.variant for planned in stale})
    document: dict[str, Any] = {
        "current": outlook.current,
        "attempt": attempt,
        "protocol_name": config.protocol,
        "protocol": configuration.protocol,
        "tolerances": {name: configuration.tolerance(name) for name in variants},
        "precisions": {name: configuration.variants[name].precision for name in variants},
        "tools": {name: tools.of_library(config.tools, name) for name in config.tools},
        "runners": {
            name: payload_code(all_libraries()[name], configuration.protocol.measures)
            for name in sorted({planned.cell.library for planned in stale})
        },
        "models": {
            name: configuration.models[name]
            for name in sorted({planned.cell.model for planned in stale})
        },
        "devices": {
            name: configuration.devices[name]
            for name in sorted({planned.cell.device for planned in stale})
        },
        "cells": stale,
        **kinds,
        "preparation": tuple(sorted(steps)),
    }
    encoded = msgspec.json.encode(document, order="deterministic")
    identity = hashlib.sha256(encoded).hexdigest()[:DIGEST_LENGTH]
    positions: dict[tuple[str, str], list[int]] = {}
    for position, planned in enumerate(stale):
        positions.setdefault((planned.cell.device, planned.cell.model), []).append(position)
    experiments = {
        f"{device}/{model}": ExperimentStep(
            id=f"{device}/{model}",
            output=f"results/experiments/{identity}/{device}/{model}.json",
            inputs=tuple(dict.fromkeys(name for n in cells for name in inputs.get(n, ()))),
            device=device,
            model=model,
            cells=tuple(cells),
        )
        for (device, model), cells in positions.items()
    }
    return Plan(id=identity, experiment=experiments, **document)


#: kind of a job -> the class of its steps
_KINDS: dict[str, type[Step]] = {
    "environment": EnvironmentStep, "download": DownloadStep, "model": ModelStep,
    "derived": DeriveStep, "export": ExportStep, "artifact": ArtifactStep,
}  # fmt: skip
_KIND_OF = {step: kind for kind, step in _KINDS.items()}


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


def save_current(project: Project, outlook: Outlook) -> None:
    """Write down what is wanted, for whoever loads the warehouse."""
    path = project.plans / f"current-{outlook.current}.json"
    if not path.exists():
        write_atomically(path, msgspec.json.encode(outlook.wanted()).decode() + "\n")


def load_current(project: Project, current: str) -> Current:
    """What is wanted now, as a run wrote it down.

    Raises:
        UserError: nothing was planned under this name.
    """
    path = project.plans / f"current-{current}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Current)
    except (OSError, msgspec.MsgspecError):
        raise UserError(f"{project.relative(path)} is gone: start again") from None
