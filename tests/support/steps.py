"""Runs the steps before a measurement one by one, as a plan has them, in a test's own folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cellfarm.base.code import PlannedCode
from cellfarm.base.names import Format, Precision
from cellfarm.base.project import Project
from cellfarm.base.records import RECORD, Record, write_record
from cellfarm.conversion import jobs
from cellfarm.conversion.routes import (
    EDGES,
    READ_IN,
    describer_entries,
    exporter_of,
    native_format,
    worker_entries,
)
from cellfarm.conversion.steps import ArtifactStep, ExportStep, ModelStep
from cellfarm.conversion.workers import fill
from cellfarm.envs.environments import library_environment, locate
from cellfarm.libraries import Library
from cellfarm.planning.chains import Chains, Program, converter_code
from cellfarm.wanted.configuration import load
from cellfarm.wanted.recipes import Recipe
from msgspec import structs

from tests.support.projects import CONFIG, REPOSITORY

MODELS = "models"


@dataclass(frozen=True)
class Scratch(Project):
    """The checkout with its results in a test's folder."""

    folder: Path = Path()

    @property
    def results(self) -> Path:
        return self.folder


def scratch(folder: Path) -> Project:
    """The checkout, with what steps leave besides their own folders beside one of these."""
    return Scratch(REPOSITORY, folder.absolute().with_name("results"))


def parse_recipe(recipe: Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe; a test may leave out its name."""
    if isinstance(recipe, Recipe):
        return recipe
    return msgspec.convert({"name": "mine", **recipe}, Recipe)


def model_step(
    recipe: Recipe | Mapping[str, Any],
    folder: Path,
    files: Mapping[str, Path] | None = None,
    download: Path | None = None,
    environment: str = MODELS,
) -> ModelStep:
    """The step that builds a model.

    Args:
        files: the sources in addition to the recipe: `file`, `weights`, `labelled`.
        download: the folder with the record of the fetched weights.
    """
    parsed = parse_recipe(recipe)
    entries, module = worker_entries(parsed, native_format(parsed))
    return ModelStep(
        id=folder.name,
        output=str(folder.absolute() / RECORD),
        environment=environment,
        code=PlannedCode.of(entries, ("models",)),
        recipe=parsed,
        module=module,
        files={name: str(path.absolute()) for name, path in (files or {}).items()},
        download=str(download.absolute()) if download else None,
    )


def planned_model(project: Project, recipe: Recipe | Mapping[str, Any]) -> Program:
    """A model as in a plan."""
    parsed = parse_recipe(recipe)
    configuration = structs.replace(
        load(project, CONFIG, "test.yaml"), models={parsed.name: parsed}
    )
    return Chains(project, configuration).program(parsed.name, configuration.variants["fp32"])


def build_model(
    recipe: Recipe | Mapping[str, Any],
    folder: Path,
    files: Mapping[str, Path] | None = None,
    download: Path | None = None,
    environment: str = MODELS,
) -> Record:
    """Build a model, or import a user's file; see `model_step`."""
    step = model_step(recipe, folder, files, download, environment)
    return jobs.build_model(scratch(folder), step)


def describe(file: Path, folder: Path, environment: str = MODELS) -> Record:
    """Write the inputs and outputs of a user's file to folder/files/description.json."""
    project = scratch(folder)
    code = PlannedCode.of(describer_entries(file.name), ("models",))
    request = {"module": "describe_file", "file": str(file.absolute())}
    return fill(project, folder, locate(project, environment), code, request)


def export(
    model: Path,
    form: Format,
    folder: Path,
    source: Path | None = None,
    source_format: Format = "pt2",
    environment: str | None = None,
) -> Record:
    """Export a model to a format.

    Args:
        model: the filled folder of the model.
        source: the folder of an earlier export in `source_format`; by default the model's.
        environment: by default the exporter's.
    """
    module = exporter_of(source_format, form)
    step = ExportStep(
        id=folder.name,
        output=str(folder.absolute() / RECORD),
        environment=environment or EDGES[source_format, form],
        code=PlannedCode.of(("models/worker.py", f"models/{module}.py"), ("models",)),
        model="mine",
        module=module,
        program=str(model.absolute()),
        source=str((source or model).absolute()),
        source_format=source_format,
        format=form,
        exporter="",
    )
    return jobs.export(scratch(folder), step)


def convert(
    library: Library,
    precision: Precision,
    model: Path,
    source: Path,
    source_format: Format | None,
    folder: Path,
    tools: Mapping[str, str] | None = None,
    environment: str | None = None,
    native: Format = "pt2",
) -> Record:
    """Make an artifact.

    Args:
        model: the filled folder of the model; source: that of the export that is read, or the same.
        source_format: what is read of `source`; None where no route leads to what the library reads.
        environment: by default the one that the library's default version converts in.
        native: the format of the model's own files.
    """
    default_environment = library_environment(library.name, library.default_version, "convert")
    step = ArtifactStep(
        id=folder.name,
        output=str(folder.absolute() / RECORD),
        environment=environment or READ_IN.get(source_format or "", default_environment),
        code=converter_code(library),
        model="mine",
        library=library.name,
        version=library.default_version,
        variant=precision,
        precision=precision,
        program=str(model.absolute()),
        source=str(source.absolute()),
        source_format=source_format,
        native=native,
        exporter="",
        converter="",
        tools=dict(tools or {}),
    )
    return jobs.convert(scratch(folder), step)


def filled(folder: Path, record: Record | None = None) -> Path:
    """Fill a folder as a step leaves it, by default a successful one without files; returns it."""
    write_record(folder, record or Record("ok", None))
    return folder
