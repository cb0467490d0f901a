"""The plan: the cells of a configuration, their keys, which are stale and why, grouped into experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.cells import Cell
from ..base.digests import digest
from ..base.errors import OutOfServiceError, PermanentError, TransientError, UserError
from ..base.files import read_object, write_atomically
from ..base.project import Project
from ..conversion.routes import at_hand, choose
from ..devices import open_device, refuse_low_battery
from ..envs.environments import ensure_locks
from ..libraries import all_libraries, resolve
from ..store.results import Store, read_header
from ..wanted.configuration import Configuration
from . import keys
from .causes import built_for, gather
from .matrix import expand

NEW = "no result yet"
#: Of a model whose recipe names none: outputs are compared as numbers, not as classes.
TASK = "encoding"
#: Devices that are asked for their facts at a time.
_AT_ONCE = 16


@dataclass(frozen=True)
class PlannedCell:
    """A cell with everything a job needs to know: ids are resolved once, when the plan is made."""

    cell: Cell
    key: str
    causes: dict[str, str]
    model_id: str
    artifact_id: str
    export_id: str | None  # None: the converter reads the model's own files
    stale: str | None = None  # why it must be measured; None: it has a result
    source: str | None = None  # the format that its converter reads; None: no route leads to one

    def as_dict(self) -> dict[str, Any]:
        return {
            "cell": self.cell.as_dict(),
            "key": self.key,
            "causes": self.causes,
            "model_id": self.model_id,
            "artifact_id": self.artifact_id,
            "export_id": self.export_id,
            "stale": self.stale,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PlannedCell:
        return cls(**{**document, "cell": Cell(**document["cell"])})


@dataclass(frozen=True)
class Plan:
    """`cells` is everything wanted; `experiments` groups the stale ones by (device, model).

    `skipped` are devices that this run does without, each with the reason; `left_undone` are those of
    them that have stale cells and are not out of service on purpose.

    `models` and `exporter` are the digests that models' and exports' files are named by.
    """

    cells: list[PlannedCell]
    facts: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    skipped: Mapping[str, PermanentError | TransientError] = field(default_factory=dict)
    models: Mapping[str, keys.ModelCauses] = field(default_factory=dict)
    exporter: str = ""

    @property
    def stale(self) -> list[PlannedCell]:
        return [one for one in self.cells if one.stale and one.cell.device not in self.skipped]

    @property
    def left_undone(self) -> dict[str, PermanentError | TransientError]:
        stale = {one.cell.device for one in self.cells if one.stale}
        # Of a device of which nothing was ever read no cell is planned, and none measured.
        stale |= self.skipped.keys() - self.facts.keys()
        return {
            name: error
            for name, error in self.skipped.items()
            if name in stale and not isinstance(error, OutOfServiceError)
        }

    @property
    def experiments(self) -> dict[tuple[str, str], list[PlannedCell]]:
        groups: dict[tuple[str, str], list[PlannedCell]] = {}
        for planned in self.stale:
            groups.setdefault((planned.cell.device, planned.cell.model), []).append(planned)
        return groups

    @property
    def current(self) -> str:
        """The digest of what is wanted: it decides which results are current."""
        return digest(sorted(planned.key for planned in self.cells))


def make_plan(project: Project, config: Configuration) -> Plan:
    """Plan a configuration; reads small files only.

    Raises:
        UserError: an unknown library or version, an exclude entry that matches nothing.
    """
    facts, skipped = read_all_facts(project, config)
    # Of a device that nothing is known of the cells are told apart and then left out.
    cores = dict.fromkeys(config.devices, 1) | {
        name: int(one["cores"]) for name, one in facts.items()
    }
    try:
        cells = expand(config.document, resolve, cores, config.where)
    except UserError as error:
        raise UserError(f"{config.where}: {str(error).removeprefix(f'{config.where}: ')}") from None
    if not cells:
        raise UserError(
            f"{config.where}: exclude takes away every cell: there is nothing to measure"
        )
    cells = [cell for cell in cells if cell.device in facts]
    if not cells:
        told = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(f"{config.where}: no device can be used ({told})")
    versions = sorted({(cell.library, cell.library_version) for cell in cells})
    ensure_locks(project, versions)
    causes = gather(project, config, cells, facts)
    store = Store(project.cells)
    planned = [_plan_cell(cell, causes, store) for cell in cells]
    return Plan(planned, facts, skipped, causes.models, causes.exporter)


def read_all_facts(
    project: Project, config: Configuration
) -> tuple[dict[str, dict[str, Any]], dict[str, PermanentError | TransientError]]:
    """The devices' facts, asked all at once; and of those that cannot be used, why.

    Of such a device the facts are those of the last time that it answered, if it ever did: its
    results stay current.
    """
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, PermanentError | TransientError] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {
            name: pool.submit(_ask, project, device) for name, device in config.devices.items()
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
            is_remote = config.devices[name]["transport"] != "local"
            if is_remote and read_object(kept) != facts[name]:
                write_atomically(kept, json.dumps(facts[name]) + "\n")
    return facts, skipped


def _ask(project: Project, device: Mapping[str, Any]) -> dict[str, Any]:
    if "out_of_service" in device:
        raise OutOfServiceError(f"out of service: {device['out_of_service']}")
    transport = open_device(device, project)
    try:
        facts = transport.facts()
    finally:
        transport.close()
    refuse_low_battery(device, facts)
    return facts


def freeze(plan: Plan, config: Configuration, attempt: int = 0) -> dict[str, Any]:
    """Everything that the jobs of a run need to know, whatever happens to the files meanwhile.

    Args:
        attempt: tells plans apart that measure the same cells again (deleted, or set aside).
    """
    devices = {planned.cell.device for planned in plan.stale}
    models = {planned.cell.model for planned in plan.stale}
    targets = {
        name: target
        for name in sorted(devices)
        for target in built_for(config.devices[name], plan.facts[name])
    }
    document = {
        "attempt": attempt,
        "protocol_name": config.document["protocol"],
        "protocol": config.protocol,
        **({"tools": config.tools} if config.tools else {}),
        "tolerances": {
            name: config.tolerance(name) for name in {p.cell.variant for p in plan.stale}
        },
        "devices": {name: config.devices[name] for name in sorted(devices)},
        **({"targets": targets} if targets else {}),
        "models": {name: {"task": TASK, **config.models[name]} for name in sorted(models)},
        "cells": [planned.as_dict() for planned in plan.stale],
    }
    return {"id": digest(document), **document}


def save(project: Project, frozen: Mapping[str, Any]) -> Path:
    """Write a frozen plan under the name of its content; jobs on other machines read it."""
    path = project.plans / f"{frozen['id']}.json"
    if not path.exists():
        write_atomically(path, json.dumps(frozen) + "\n")
    return path


def load(project: Project, plan_id: str) -> dict[str, Any]:
    """A frozen plan.

    Raises:
        UserError: there is none of that id.
    """
    path = project.plans / f"{plan_id}.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{project.relative(path)}: not a plan: {error}") from error


def _plan_cell(cell: Cell, causes: keys.Causes, store: Store) -> PlannedCell:
    why = keys.cell_causes(cell, causes)
    key = keys.cell_key(cell, why)
    model = causes.models[cell.model]
    source = choose(model.native, all_libraries()[cell.library].sources)
    exported = source if source not in at_hand(model.native) else None
    return PlannedCell(
        cell=cell,
        key=key,
        causes=why,
        model_id=model.id,
        artifact_id=keys.artifact_id(cell, causes),
        export_id=keys.export_id(model, causes.exporter, exported) if exported else None,
        stale=None if store.has(cell, key) else _reason(cell, why, store),
        source=source,
    )


def _reason(cell: Cell, causes: Mapping[str, str], store: Store) -> str:
    """Why a cell has no result under its key: what differs from the newest result it does have."""
    for path in reversed(store.older(cell)):
        try:
            before = read_header(path)["causes"]
        except (OSError, ValueError, KeyError):
            continue
        worded = keys.CAUSES | keys.FURTHER_CAUSES
        changed = [text for name, text in worded.items() if before.get(name) != causes.get(name)]
        return "; ".join(changed) or "a retry was asked for"
    return "new version of the library" if store.other_versions(cell) else NEW
