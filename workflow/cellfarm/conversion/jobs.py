"""Does the steps of a frozen plan: downloads, models, derived models, exports, artifacts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from ..base.errors import PermanentHostError, TransientHostError
from ..base.project import Project
from ..base.records import FILES, RECORD, Record, failure, write_record
from ..envs.downloads import Download, fetch
from ..envs.environments import locate
from ..libraries import all_libraries
from .routes import FILES as FORMAT_FILES
from .routes import no_route
from .steps import ArtifactStep, DeriveStep, DownloadStep, ExportStep, ModelStep
from .workers import fill, is_whole


def download(project: Project, step: DownloadStep, say: Callable[[str], None]) -> Record:
    """Fetch the weights of a model.

    A download that can never succeed is recorded as `failed`, so that the model's cells say why.

    Raises:
        TransientHostError: no network; nothing is recorded, and the next run tries again.
    """
    started = time.monotonic()
    reason = None
    try:
        fetch(Download(step.url, step.sha256), project.results / "downloads", say)
    except PermanentHostError as error:
        reason = str(error)
    seconds = round(time.monotonic() - started, 1)
    record = Record("ok" if reason is None else "failed", reason, seconds=seconds, url=step.url)
    return write_record(project.root / step.folder, record)


def build_model(project: Project, step: ModelStep) -> Record:
    """Build a model, or take over the user's file: the model's file, model.json, and the .npz of its
    inputs and reference outputs.

    Raises:
        TransientHostError: a file is gone or damaged.
    """
    folder = project.root / step.folder
    files = {kind: project.root / path for kind, path in step.files.items()}
    if step.download:
        refusal = failure(project.root / step.download, "weights")
        if refusal:
            return write_record(folder, refusal)
    for kind, path in files.items():
        is_download = step.download is not None and kind == "weights"  # named by its digest
        if not (is_whole(path, path.name) if is_download else path.is_file()):
            if step.download:
                (project.root / step.download / RECORD).unlink(missing_ok=True)
            if is_download and path.is_file():
                path.replace(path.with_name(f"{path.name}.damaged"))
            raise TransientHostError(f"{path} is gone or damaged; start again")
    request = {
        "module": step.module,
        "recipe": step.recipe.as_dict(),
        "files": {kind: str(path.absolute()) for kind, path in files.items()},
    }
    return fill(project, folder, locate(project, step.environment), step.code, request)


def derive(project: Project, step: DeriveStep) -> Record:
    """Apply passes to a model: the files of a model, and the parent's reference beside the model's."""
    folder, parent = project.root / step.folder, project.root / step.parent
    if step.refusal:
        return write_record(folder, Record("unsupported", step.refusal))
    request = {
        "module": "apply_passes",
        "parent": str(parent / FILES),
        "passes": [list(link) for link in step.passes],
    }
    environment = locate(project, step.environment)
    return fill(project, folder, environment, step.code, request, [(parent, "model")])


def export(project: Project, step: ExportStep) -> Record:
    """Export a model to a format in one step, from the model's files or from an export of it."""
    program, source = project.root / step.program, project.root / step.source
    request = {
        "module": step.module,
        "format": step.format,
        "model": str(program / FILES),
        "source": str(source / FILES / FORMAT_FILES[step.source_format]),
        "source_format": step.source_format,
    }
    upstream = [(program, "model")] + ([(source, "export")] if source != program else [])
    folder, environment = project.root / step.folder, locate(project, step.environment)
    return fill(project, folder, environment, step.code, request, upstream)


def convert(project: Project, step: ArtifactStep) -> Record:
    """Make an artifact.

    A user's file that is already quantised or in half precision is converted as it is, if that is the
    cell's precision.
    """
    library = all_libraries()[step.library]
    folder = project.root / step.folder
    if step.source_format is None:
        reason = no_route(library.title, step.native, library.sources)
        return write_record(folder, Record("unsupported", reason))
    program, source = project.root / step.program, project.root / step.source
    upstream = [(program, "model")] + ([(source, "export")] if source != program else [])
    for before, what in upstream:
        refusal = failure(before, what)
        if refusal:
            return write_record(folder, refusal)
    files = program / FILES
    description = json.loads((files / "model.json").read_text(encoding="utf-8"))
    precision = description.get("precision", "fp32")
    if precision not in ("fp32", step.precision):
        reason = f"the model's file is {precision} already: {step.precision} cannot be made of it"
        return write_record(folder, Record("unsupported", reason))
    request = {
        "source": str(source / FILES / FORMAT_FILES[step.source_format]),
        "precision": step.precision if precision == "fp32" else "fp32",
        "model": description
        | {
            "source_format": step.source_format,
            "sample_inputs": str(files / "inputs.npz"),
            "reference": str(files / "reference.npz"),
            "calibration": str(files / "calibration.npz"),
            "tools": step.tools,
        },
    }
    environment = locate(project, step.environment)
    return fill(project, folder, environment, step.code, request, upstream, library.variables)
