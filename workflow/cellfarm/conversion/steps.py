"""The steps before a measurement, as the workflow asks for them: by the ids that the plan gave them.

Each works out its id again and refuses where the sources have changed since.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ..base.errors import InternalMismatch, PermanentHostError
from ..base.files import write_atomically
from ..base.project import Project
from ..envs.downloads import fetch, wanted_download
from ..envs.environments import MODELS_ENVIRONMENT, library_environment, locate
from ..libraries import all_libraries
from ..planning.causes import exporter_digest, library_causes, model_causes
from ..planning.keys import export_id as identify_export
from ..planning.keys import identify_artifact
from ..wanted import tools
from ..wanted.configuration import read_model
from ..wanted.contents import named_files
from . import jobs
from .routes import EDGES, FILES, READ_IN, at_hand, choose, previous


def download(project: Project, model: str, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Fetch the weights of a model.

    What will never work is recorded as `failed`, so that the model's cells say why.

    Raises:
        TransientHostError: no network; nothing is recorded, the next run tries again.
    """
    wanted = wanted_download(read_model(project, model, "job download"))
    _same(wanted.name if wanted else "", name, f"models/{model}.yaml")
    assert wanted
    started = time.monotonic()
    record: dict[str, Any] = {"status": "ok", "reason": None}
    folder = project.results / "downloads"
    try:
        fetch(wanted, folder, say)
    except PermanentHostError as error:
        record = {"status": "failed", "reason": str(error), "log": ""}
    record |= {"url": wanted.url, "seconds": round(time.monotonic() - started, 1)}
    write_atomically(folder / name / jobs.RECORD, json.dumps(record, indent=1) + "\n")
    return record


def build_model(project: Project, model: str, model_id: str) -> dict[str, Any]:
    """Build a model, or take over the user's own file."""
    recipe = read_model(project, model, "job build-model")
    causes = model_causes(project, recipe)
    _same(causes.id, model_id, f"models/{model}.yaml, a file that it names, or the builder's code")
    files = named_files(project, recipe)
    folder = project.model_folder(model, model_id)
    environment = locate(project, MODELS_ENVIRONMENT)
    wanted = wanted_download(recipe)
    if wanted is None:
        return jobs.build_model(environment, recipe, folder, files)
    downloads = project.results / "downloads"
    files["weights"] = downloads / wanted.sha256
    return jobs.build_model(environment, recipe, folder, files, downloads / wanted.name)


def export(
    project: Project, model: str, form: str, model_id: str, export_id: str
) -> dict[str, Any]:
    """Export a model to a format: one step, from its own files or from an export of it."""
    causes = model_causes(project, read_model(project, model, "job export"))
    exporter = exporter_digest(project)
    _same(causes.id, model_id, f"models/{model}.yaml")
    _same(identify_export(causes, exporter, form), export_id, "the exporter's code")
    before = previous(causes.native, form)
    filled = project.model_folder(model, model_id)
    source = filled
    if before not in at_hand(causes.native):
        source = project.export_folder(model, before, identify_export(causes, exporter, before))
    environment = locate(project, EDGES[before, form])
    folder = project.export_folder(model, form, export_id)
    return jobs.export(environment, filled, form, folder, source, before)


def convert(
    project: Project,
    reference: str,
    model: str,
    variant: str,
    model_id: str,
    export_id: str | None,
    artifact_id: str,
) -> dict[str, Any]:
    """Convert a model for a library.

    Args:
        reference: the library as name@version.
        export_id: None for a converter that reads the model's own file.
    """
    name, _, version = reference.partition("@")
    library = all_libraries()[name]
    model_now = model_causes(project, read_model(project, model, "job convert"))
    _same(model_now.id, model_id, f"models/{model}.yaml")
    exporter = exporter_digest(project)
    given = tools.given(tools.of_run(project), name)
    causes = library_causes(project, name, version, given)
    now = identify_artifact(model_id, exporter, causes, variant, model_now.native)
    _same(now, artifact_id, f"the converter of {reference}")
    folder = project.artifact_folder(reference, model, variant, artifact_id)
    form = choose(model_now.native, library.sources)
    if form is None:
        return jobs.refuse(library, model_now.native, folder)
    filled = project.model_folder(model, model_id)
    source = project.export_folder(model, form, export_id) if export_id else filled
    own = library_environment(name, version, "convert")
    environment = locate(project, READ_IN.get(form, own))
    return jobs.convert(environment, library, variant, filled, source, FILES[form], folder, given)


def _same(now: str, planned: str, what: str) -> None:
    if now != planned:
        raise InternalMismatch(f"{what} changed since this run was planned: start it again")
