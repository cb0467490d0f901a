"""Retry on request: failed results are set aside (they stay in the history) and so become stale."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..analysis.ranking import INFORMATIONAL_FLAGS
from ..base.documents import suggestion
from ..base.errors import UserError
from ..base.files import read_object
from ..base.project import Project
from ..store.results import STATUSES, Store
from ..wanted.configuration import load_file
from .outlook import Outlook, look
from .plan import PlannedCell


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
    outlook = look(project, config)
    _check_names(outlook, models, libraries, devices)
    store = Store(project.cells)
    count = 0
    for planned in outlook.cells:
        cell = planned.cell
        wanted = (
            (not models or cell.model in models)
            and (not libraries or cell.library in libraries or cell.versioned_library in libraries)
            and (not devices or cell.device in devices)
        )
        if not wanted:
            continue
        again = [
            store.path(cell, measure, key)
            for measure, key in planned.measures.items()
            if store.has(cell, measure, key)
            and _is_again(store.header(cell, measure, key), statuses, flagged)
        ]
        if again:
            _forget_failed_steps(project, outlook, planned)
            count += 1
        for path in again:
            store.set_aside(path)
    return count


def _is_again(header: Mapping[str, Any], statuses: list[str], flagged: bool) -> bool:
    """Whether a result is to be measured again."""
    doubtful = flagged and set(header.get("flags", ())) - INFORMATIONAL_FLAGS
    return header["status"] in statuses or bool(doubtful)


def _check_names(
    outlook: Outlook,
    models: list[str] | None,
    libraries: list[str] | None,
    devices: list[str] | None,
) -> None:
    """Raise UserError for a name that no cell of the config has."""
    cells = [planned.cell for planned in outlook.cells]
    for kind, names, known in (
        ("model", models, {cell.model for cell in cells}),
        ("library", libraries, {name for cell in cells
                                for name in (cell.library, cell.versioned_library)}),
        ("device", devices, {cell.device for cell in cells}),
    ):  # fmt: skip
        for name in names or ():
            if name not in known:
                hint = suggestion(name, sorted(known))
                raise UserError(f"--{kind} {name}: no cell of this config has it{hint}")


def _forget_failed_steps(project: Project, outlook: Outlook, planned: PlannedCell) -> None:
    """Delete what a failed environment, download, model, export or artifact left, so that it is made
    anew."""
    for step in outlook.chains.steps_of(planned.artifact, planned.needs):
        record = read_object(project.root / step.output)
        if record is not None and record.get("status") != "ok":
            shutil.rmtree(project.root / step.folder)
