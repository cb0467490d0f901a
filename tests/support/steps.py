"""Steps before a measurement, done for tests without a plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellfarm.base.code import PlannedCode
from cellfarm.base.names import Format
from cellfarm.base.project import PACKAGE, Project
from cellfarm.base.records import Record
from cellfarm.conversion import jobs
from cellfarm.conversion.routes import exporter_of, native_format, worker_entries
from cellfarm.conversion.steps import ArtifactStep, ExportStep, ModelStep
from cellfarm.envs.environments import Environment
from cellfarm.libraries import Library
from cellfarm.planning.chains import converter_code
from cellfarm.wanted.configuration import parse_recipe
from cellfarm.wanted.recipes import Recipe

#: Steps name folders relative to a project's root; of a test's they are absolute.
HERE = Project(PACKAGE.parents[1])


def _output(folder: Path) -> str:
    return str(folder / "record.json")


def build_model(
    environment: Environment,
    recipe: Mapping[str, Any] | Recipe,
    folder: Path,
    files: Mapping[str, Path] | None = None,
    download: Path | None = None,
    project: Project = HERE,
) -> Record:
    """Build a model, or take over a user's file, into `folder`."""
    parsed = recipe if isinstance(recipe, Recipe) else parse_recipe(dict(recipe), "test")
    entries, module = worker_entries(parsed, native_format(parsed))
    step = ModelStep(
        id="test", output=_output(folder), environment=environment.name,
        code=PlannedCode.of(entries, ("models",)), recipe=parsed, module=module,
        files={what: str(path) for what, path in (files or {}).items()},
        download=str(download) if download else None,
    )  # fmt: skip
    return jobs.build_model(project, step)


def export(
    environment: Environment,
    model: Path,
    form: Format,
    folder: Path,
    source: Path | None = None,
    source_format: Format = "pt2",
    project: Project = HERE,
) -> Record:
    """Export the model in `model`, or an export of it in `source`, into `folder`."""
    module = exporter_of(source_format, form)
    step = ExportStep(
        id="test", output=_output(folder), environment=environment.name,
        code=PlannedCode.of(["models/worker.py", f"models/{module}.py"], ("models",)),
        model="test", module=module, program=str(model), source=str(source or model),
        source_format=source_format, format=form, exporter="",
    )  # fmt: skip
    return jobs.export(project, step)


def convert(
    library: Library,
    precision: Any,
    model: Path,
    source: Path,
    source_format: Format | None,
    folder: Path,
    environment: Environment,
    native: Format = "pt2",
    tools: Mapping[str, str] | None = None,
    project: Project = HERE,
) -> Record:
    """Convert the model in `model`, or an export of it in `source`, for a library into `folder`."""
    step = ArtifactStep(
        id="test", output=_output(folder), environment=environment.name,
        code=converter_code(library), model="test", library=library.name,
        version=library.default_version, variant=precision, precision=precision,
        program=str(model), source=str(source), source_format=source_format, native=native,
        exporter="", converter="", tools=dict(tools or {}),
    )  # fmt: skip
    return jobs.convert(project, step)
