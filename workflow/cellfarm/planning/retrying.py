"""Retry on request: failed results are set aside (they stay in the history) and so become stale."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

from ..analysis.ranking import INFORMATIONAL_FLAGS
from ..base.documents import suggestion
from ..base.errors import UserError
from ..base.project import Project
from ..conversion import jobs
from ..conversion.routes import EDGES, READ_IN, route
from ..envs.downloads import Download, wanted_download
from ..envs.environments import MODELS_ENVIRONMENT, NATIVE, Environment, library_environment, locate
from ..envs.locks import PURPOSES
from ..libraries import all_libraries
from ..store.results import STATUSES, Store
from ..wanted.configuration import load_file
from .keys import export_id
from .plan import Plan, PlannedCell, make_plan


def set_aside(
    project: Project,
    configfile: Path | None,
    statuses: list[str],
    models: list[str] | None,
    libraries: list[str] | None,
    devices: list[str] | None,
    flagged: bool = False,
) -> int:
    """Set aside the current results with one of the statuses, and the failed steps before them.

    Args:
        flagged: also results that a flag keeps from ranking.

    Returns:
        How many results were set aside.

    Raises:
        UserError: a status that cannot be retried, or a name that no cell of the config has.
    """
    unknown = [status for status in statuses if status not in STATUSES or status == "ok"]
    if unknown:
        raise UserError(f"cannot retry status '{unknown[0]}'; one of: {', '.join(STATUSES[1:])}")
    config = load_file(project, configfile)
    plan = make_plan(project, config)
    _check_names(plan, models, libraries, devices)
    store = Store(project.cells)
    count = 0
    for planned in plan.cells:
        cell = planned.cell
        wanted = (
            (not models or cell.model in models)
            and (not libraries or cell.library in libraries or cell.versioned_library in libraries)
            and (not devices or cell.device in devices)
        )
        if not wanted or not store.has(cell, planned.key):
            continue
        header = store.header(cell, planned.key)
        doubtful = flagged and set(header.get("flags", ())) - INFORMATIONAL_FLAGS
        if header["status"] in statuses or doubtful:
            download = wanted_download(config.models[cell.model])
            _forget_failed_steps(project, plan, planned, download)
            store.set_aside(store.path(cell, planned.key))
            count += 1
    return count


def _check_names(
    plan: Plan, models: list[str] | None, libraries: list[str] | None, devices: list[str] | None
) -> None:
    """Raise UserError for a name that no cell of the config has."""
    cells = [planned.cell for planned in plan.cells]
    for kind, given, known in (
        ("model", models, {cell.model for cell in cells}),
        ("library", libraries, {name for cell in cells
                                for name in (cell.library, cell.versioned_library)}),
        ("device", devices, {cell.device for cell in cells}),
    ):  # fmt: skip
        for name in given or ():
            if name not in known:
                hint = suggestion(name, sorted(known))
                raise UserError(f"--{kind} {name}: no cell of this config has it{hint}")


def _forget_failed_steps(
    project: Project, plan: Plan, planned: PlannedCell, download: Download | None
) -> None:
    """Delete what a failed environment, download, model, export or artifact left, so that it is made
    anew."""
    cell = planned.cell
    model = plan.models[cell.model]
    steps = route(model.native, planned.source or "") or ()
    names = [MODELS_ENVIRONMENT] + [
        library_environment(cell.library, cell.library_version, purpose) for purpose in PURPOSES
    ]
    if all_libraries()[cell.library].native_sources:
        names.append(library_environment(cell.library, cell.library_version, NATIVE))
    names += [EDGES[step] for step in pairwise(steps)]
    names += [READ_IN[form] for form in steps[-1:] if form in READ_IN]
    for name in names:
        _forget_environment(locate(project, name))
    folders = [
        project.model_folder(cell.model, planned.model_id),
        project.artifact_folder(
            cell.versioned_library, cell.model, cell.variant, planned.artifact_id
        ),
    ]
    for form in steps[1:]:
        identity = export_id(model, plan.exporter, form)
        folders.append(project.export_folder(cell.model, form, identity))
    if download:
        folders.append(project.results / "downloads" / download.name)
    for folder in folders:
        record = jobs.read_record(folder)
        if record is not None and record["status"] != "ok":
            shutil.rmtree(folder)


def _forget_environment(environment: Environment) -> None:
    state = environment.state()
    if state is not None and state["status"] != "ok":
        shutil.rmtree(environment.folder)
