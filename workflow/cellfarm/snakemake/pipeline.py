"""What the Snakefile asks: which files to make, and what each of them is made from."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..base.cells import Cell
from ..base.digests import code_digest, digest
from ..base.errors import (
    PermanentDeviceError,
    PermanentError,
    TransientDeviceError,
    TransientError,
    UserError,
)
from ..base.files import read_object, write_atomically
from ..base.project import PACKAGE, Project
from ..conversion.jobs import RECORD
from ..conversion.routes import EDGES, READ_IN, at_hand, previous, route
from ..devices import open_device
from ..envs.downloads import wanted_download
from ..envs.environments import MODELS_ENVIRONMENT, environment_on, library_environment, locate
from ..libraries import all_libraries
from ..measures import files as measure_files
from ..planning.causes import brought, built_for
from ..planning.keys import export_id
from ..planning.plan import PlannedCell, freeze, make_plan, save
from ..planning.plan import load as load_plan
from ..store.results import Store
from ..wanted import tools
from ..wanted.configuration import load, load_file

STATE = "state.json"


class Pipeline:
    """One reading of the Snakefile."""

    def __init__(self, config: Mapping[str, Any], where: str = "config/config.yaml") -> None:
        self.project = Project.here()
        self.configuration = load(self.project, config, where)
        self.plan = make_plan(self.project, self.configuration)
        # Versions that one converter serves have artifacts of one id, each with an environment of its own.
        self._artifacts = {(p.cell.versioned_library, p.artifact_id): p for p in self.plan.cells}
        self._check_devices()

    def refuse_without_devices(self) -> None:
        """
        Raises:
            UserError: cells are stale, and none of the devices can be used.
        """
        skipped = self.plan.skipped
        wanted = any(planned.stale for planned in self.plan.cells)
        if wanted and skipped.keys() >= self.configuration.devices.keys():
            told = "; ".join(f"{name}: {why}" for name, why in skipped.items())
            raise UserError(f"{self.configuration.where}: no device can be used ({told})")

    def _check_devices(self) -> None:
        """A folder that cannot be written is told now, not after an hour of conversions."""
        for name in sorted({planned.cell.device for planned in self.plan.stale}):
            device = self.configuration.devices[name]
            try:
                open_device(device, self.project).check()
            except PermanentDeviceError as error:
                raise UserError(f"devices/{name}.yaml: {error}") from error

    # -- targets --------------------------------------------------------------------------------

    @cached_property
    def plan_id(self) -> str | None:
        """The frozen plan of this run; None when nothing is stale."""
        if not self.plan.stale:
            return None
        for attempt in itertools.count():
            frozen = freeze(self.plan, self.configuration, attempt)
            # A record of an experiment whose cells are stale is one of an earlier attempt.
            if not (self.project.results / "experiments" / frozen["id"]).exists():
                break
        frozen["preparation"] = self._preparation()
        save(self.project, frozen)
        return str(frozen["id"])

    def targets(self) -> list[str]:
        """What is not up to date of the results and the report; nothing, if everything is."""
        page = self.project.reports / "index.html"
        report = report_state(self._warehouse_wanted)
        up_to_date = self._state.get("report") == report and page.is_file()
        if up_to_date and not self.measured_targets():
            return []
        return [self._stamp([report, page.is_file()], "report")]

    def measured_targets(self) -> list[str]:
        """The same without the report."""
        up_to_date = (
            not self.plan.stale
            and self._state.get("warehouse") == self._warehouse_wanted
            and self.project.warehouse.is_file()
        )
        return [] if up_to_date else [self._stamp([], "warehouse")]

    def is_measured(self) -> bool:
        """Whether every cell has a result by now, or its device dropped out: not so after
        `snakemake converted`."""
        store, lost = Store(self.project.cells), self.lost()
        return all(
            planned.cell.device in lost or store.has(planned.cell, planned.key)
            for planned in self.plan.stale
        )

    def lost(self) -> dict[str, PermanentError | TransientError]:
        """The devices that this run could not use or that dropped out of it, and why."""
        found = dict(self.plan.left_undone)
        for path in self.experiments():
            record = read_object(self.project.root / path) or {}
            if "lost" in record:
                kind = TransientDeviceError if record["may_come_back"] else PermanentDeviceError
                found[record["device"]] = kind(record["lost"])
        return found

    def converted_targets(self) -> list[str]:
        """What the stale cells are measured with: run environments and the records of artifacts."""
        needed: dict[str, None] = {}
        for planned in self.plan.stale:
            if self._is_supported(planned):
                needed.update(dict.fromkeys(self._cell_inputs(planned)))
        return list(needed)

    @cached_property
    def _state(self) -> dict[str, Any]:
        return read_state(self.project)

    @cached_property
    def _warehouse_wanted(self) -> str:
        return warehouse_state(self.project, [(p.cell, p.key) for p in self.plan.cells])

    def _stamp(self, more: list[Any], kind: str) -> str:
        """A file that does not exist yet in this situation, and will when `kind` is up to date."""
        self._save_current()
        situation = digest([self._state, self._warehouse_wanted, *more])
        return f"results/stamps/{self.plan.current}-{situation}.{kind}"

    @cached_property
    def command(self) -> str:
        """What every rule's shell command begins with: this checkout's own package, this plan."""
        variables = [f"PYTHONPATH={PACKAGE.parent}", f"CELLFARM_PLAN={self.plan_id or ''}"]
        return shlex.join(["env", *variables, sys.executable, "-m", "cellfarm", "job"])

    def experiments(self) -> list[str]:
        """The records of the experiments that this run measures."""
        return [
            f"results/experiments/{self.plan_id}/{device}/{model}.json"
            for device, model in self.plan.experiments
        ]

    def _preparation(self) -> list[str]:
        """The records that must be there before the stale cells can be measured, for the progress."""
        needed = {self.models_environment()}
        for planned in self.plan.stale:
            if self._is_supported(planned):
                needed.update(self._cell_inputs(planned))
                needed.update(
                    self.artifact_inputs(planned.cell.versioned_library, planned.artifact_id)
                )
                needed.update(self.model_inputs(planned.cell.model))
                for form in self._exported(planned):
                    needed.update(self.export_inputs(planned.cell.model, form))
        return sorted(needed)

    def _save_current(self) -> None:
        path = self.project.plans / f"current-{self.plan.current}.json"
        if path.exists():
            return
        document = {
            "keys": sorted(planned.key for planned in self.plan.cells),
            "cells": [[planned.cell.as_dict(), planned.key] for planned in self.plan.cells],
            "devices": self.plan.facts,
        }
        write_atomically(path, json.dumps(document) + "\n")

    # -- inputs ---------------------------------------------------------------------------------

    def experiment_inputs(self, plan_id: str, device: str, model: str) -> list[str]:
        """The environments and artifacts that an experiment of a frozen plan needs."""
        needed: dict[str, None] = {}
        for entry in load_plan(self.project, plan_id)["cells"]:
            planned = PlannedCell.from_dict(entry)
            cell = planned.cell
            if (cell.device, cell.model) != (device, model):
                continue
            if self._is_supported(planned):
                needed.update(dict.fromkeys(self._cell_inputs(planned)))
        return list(needed)

    def _is_supported(self, planned: PlannedCell) -> bool:
        """Whether the library can do the cell, with the tools that are given."""
        cell = planned.cell
        given = tools.given(self.configuration.tools, cell.library)
        on_device = self.configuration.devices[cell.device].get("tools", {})
        library = all_libraries()[cell.library]
        return is_supported(planned) and not tools.missing(library, given, on_device)

    def _cell_inputs(self, planned: PlannedCell) -> list[str]:
        cell = planned.cell
        device = self.configuration.devices[cell.device]
        facts = self.plan.facts[cell.device]
        target = next(iter(built_for(device, facts)), None)
        environment = environment_on(device, cell.library, cell.library_version, target)
        return [
            *(self._path(locate(self.project, name).record) for name in brought(device, facts)),
            self._path(locate(self.project, environment).record),
            f"{self._artifact(planned)}/{RECORD}",
        ]

    def artifact_inputs(self, library: str, artifact_id: str) -> list[str]:
        """What the artifact of a library at a version (`ncnn@1.0`) is made from."""
        planned = self._artifacts[library, artifact_id]
        cell = planned.cell
        own = library_environment(cell.library, cell.library_version, "convert")
        environment = locate(self.project, READ_IN.get(planned.source or "", own))
        inputs = [
            self._path(environment.record),
            self._model(cell.model),
        ]
        if planned.export_id and planned.source:
            inputs.append(self._export(cell.model, planned.source))
        return inputs

    def model_inputs(self, model: str) -> list[str]:
        """What a model is built from: its environment and, where weights have an address, those."""
        recipe = self.configuration.models[model]
        download = wanted_download(recipe)
        return [
            self.models_environment(),
            *([f"results/downloads/{download.name}/{RECORD}"] if download else []),
        ]

    def export_inputs(self, model: str, form: str) -> list[str]:
        """What an export is made from: an environment, the model, and the export before it."""
        native = self.plan.models[model].native
        before = previous(native, form)
        environment = locate(self.project, EDGES[before, form])
        inputs = [self._path(environment.record), self._model(model)]
        return inputs if before in at_hand(native) else [*inputs, self._export(model, before)]

    def _exported(self, planned: PlannedCell) -> tuple[str, ...]:
        """The formats that a cell's model is exported to, one from the other."""
        steps = route(self.plan.models[planned.cell.model].native, planned.source or "") or ()
        return steps[1:]

    def _model(self, model: str) -> str:
        return f"results/models/{model}/{self.plan.models[model].id}/{RECORD}"

    def _export(self, model: str, form: str) -> str:
        identity = export_id(self.plan.models[model], self.plan.exporter, form)
        return f"results/exports/{model}/{form}/{identity}/{RECORD}"

    def models_environment(self) -> str:
        return self._path(locate(self.project, MODELS_ENVIRONMENT).record)

    def environments_folder(self) -> str:
        return self._path(self.project.environments)

    def model_id(self, model: str) -> str:
        return self.plan.models[model].id

    def model_of_download(self, name: str) -> str:
        """A model whose weights are this download (see cellfarm.envs.downloads.Download)."""
        recipes = self.configuration.models.items()
        return next(
            model
            for model, recipe in recipes
            if (download := wanted_download(recipe)) and download.name == name
        )

    def artifact_sources(self, library: str, artifact_id: str) -> str:
        """The ids of the model and of the export that an artifact is made from; - for no export."""
        planned = self._artifacts[library, artifact_id]
        return f"{planned.model_id} {planned.export_id or '-'}"

    def _artifact(self, planned: PlannedCell) -> str:
        cell = planned.cell
        folder = f"{cell.versioned_library}/{cell.model}/{cell.variant}"
        return f"results/artifacts/{folder}/{planned.artifact_id}"

    def _path(self, path: Path) -> str:
        return self.project.relative(path)

    # -- devices --------------------------------------------------------------------------------

    @cached_property
    def device_names(self) -> list[str]:
        return sorted(self.configuration.devices)

    def is_host(self, device: str) -> bool:
        return bool(self.configuration.devices[device]["transport"] == "local")

    # -- words ----------------------------------------------------------------------------------

    def describe(self) -> str:
        """What will be measured and why; one line when there is nothing to do."""
        total = len(self.plan.cells)
        skipped = [f"  {name} is left out: {why}" for name, why in self.plan.skipped.items()]
        if not self.plan.stale:
            undone = any(planned.stale for planned in self.plan.cells)
            there = "every cell of the other devices has" if undone else f"all {total} cells have"
            told = (
                f"cellfarm: nothing to measure: {there} a result "
                "(ranking: cellfarm summary; report: reports/index.html)."
            )
            return "\n".join([told, *skipped])
        lines = [f"cellfarm: {len(self.plan.stale)} of {total} cells to measure:", *skipped]
        for (device, model), cells in self.plan.experiments.items():
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            lines.append(f"  experiment {model} on {device}: {count}")
            for planned in cells:
                cell = planned.cell
                setting = f"{cell.variant} {cell.processor} t{cell.threads}"
                lines.append(f"    {cell.versioned_library} {setting}: {planned.stale}")
        return "\n".join(lines)


def is_supported(planned: PlannedCell) -> bool:
    """Whether cellfarm's library can do the cell at all; if not, it needs no artifact to say so."""
    library = all_libraries()[planned.cell.library]
    cell = planned.cell
    return cell.variant in library.variants and cell.processor in library.processors


def load_current(project: Project, current: str) -> dict[str, Any]:
    """What is wanted now, as a run wrote it down: {"keys", "cells": [(cell, key)], "devices"}.

    Raises:
        UserError: nothing was planned under this name.
    """
    document = read_object(project.plans / f"current-{current}.json")
    if document is None:
        raise UserError(f"results/plans/current-{current}.json is gone: start again")
    document["cells"] = [(Cell(**cell), key) for cell, key in document["cells"]]
    return document


def latest_current(project: Project) -> dict[str, Any]:
    """What the warehouse was last loaded for; if nobody knows, what the default config asks for."""
    try:
        return load_current(project, str(read_state(project).get("current")))
    except UserError:
        plan = make_plan(project, load_file(project))
        return {"keys": [planned.key for planned in plan.cells], "devices": plan.facts}


def warehouse_state(project: Project, cells: Iterable[tuple[Cell, str]]) -> str:
    """A digest of what the warehouse should hold of the wanted cells: their keys and files."""
    found = []
    root = str(project.cells)
    for cell, key in cells:
        try:
            stamp = os.stat(f"{root}/{cell.folder}/{key}.json").st_mtime_ns
        except OSError:
            stamp = 0
        found.append([key, stamp])
    return digest([sorted(found), code_digest(PACKAGE / "warehouse", *measure_files())])


def report_state(warehouse: str) -> str:
    return digest([warehouse, code_digest(PACKAGE / "report", PACKAGE / "analysis")])


def write_state(project: Project, **values: Any) -> None:
    """Note what was brought up to date; the time makes every state another situation."""
    values["written_at"] = time.time()
    write_atomically(
        project.results / STATE, json.dumps(read_state(project) | values, indent=1) + "\n"
    )


def read_state(project: Project) -> dict[str, Any]:
    """What the warehouse and the report were made from; empty when they were not."""
    return read_object(project.results / STATE) or {}
