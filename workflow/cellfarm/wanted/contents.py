"""What is in files that a model's recipe names: their SHA-256, read once for each content."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ..base.digests import file_digest
from ..base.errors import UserError
from ..base.files import read_object, write_atomically
from ..base.project import Project
from .labelled_pictures import write_list
from .onnx_data import data_files
from .recipes import Recipe

#: A file that was written this short a time ago may change again within one tick of its clock.
_SETTLED_S = 2.0


def named_files(project: Project, recipe: Recipe) -> dict[str, Path]:
    """What a model is built from beside its recipe: the files of the user's own that it names,
    and `labelled`, the list of the labelled pictures (see cellfarm.wanted.labelled_pictures).

    Raises:
        UserError: one of them is not there, or no part of the model's folder.
    """
    files = own_files(project, recipe)
    return files | ({"labelled": write_list(project, recipe)} if recipe.labelled else {})


def own_files(project: Project, recipe: Recipe) -> dict[str, Path]:
    """The files of the user's own that a recipe names: `file` (the model), the files in which an ONNX
    file keeps weights (`data` and its own name of each), and `weights`.

    Raises:
        UserError: one of them is not there, or no part of the model's folder.
    """
    weights = recipe.weights.path if recipe.weights else None
    named = {"file": recipe.file, "weights": weights}
    files = {what: project.root / path for what, path in named.items() if path}
    for what, path in files.items():
        if not path.is_file():
            key = "file" if what == "file" else "weights.path"
            raise UserError(
                f"models/{recipe.name}.yaml: key '{key}': there is no file {named[what]} "
                "(a path is relative to the project's folder)"
            )
    return files | _data(recipe, files.get("file"))


def _data(recipe: Recipe, file: Path | None) -> dict[str, Path]:
    if file is None or file.suffix.lower() != ".onnx":
        return {}
    try:
        return {f"data {name}": path for name, path in data_files(file).items()}
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"models/{recipe.name}.yaml: key 'file': {error}") from None


def sha256(project: Project, path: Path) -> str:
    """The SHA-256 of a file's bytes; it is read again only when its size or its date changed.

    Raises:
        UserError: it cannot be read.
    """
    try:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        note = project.results / "digests.json"
        known = read_object(note) or {}
        entry = known.get(str(path))
        if isinstance(entry, list) and entry[:2] == stamp:
            return str(entry[2])
        value = file_digest(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if time.time() - status.st_mtime > _SETTLED_S:
        kept = {name: entry for name, entry in known.items() if Path(name).is_file()}
        write_atomically(note, json.dumps(kept | {str(path): [*stamp, value]}, indent=1) + "\n")
    return value
