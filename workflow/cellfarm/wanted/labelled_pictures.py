"""Labelled pictures of the user's own: which of them a model is run on, and what class each shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..base.digests import digest
from ..base.errors import UserError
from ..base.files import write_atomically
from ..base.project import Project
from .recipes import Labelled, Recipe

#: Pictures that are run unless the recipe says another number: half the width of a 95 % interval
#: around 70 % is 4 %.
IMAGES = 500
#: Further ones, which 8-bit variants are calibrated on (as many as cellfarm.models.drawing draws).
CALIBRATION = 16
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
#: Keys of `labelled` that say where to find something, and which pictures: the drawn ones count.
_SELECTION = ("folder", "classes", "images")


@dataclass(frozen=True)
class Picture:
    """One file: `name` is relative to the folder, `label` the index of its class."""

    name: str
    size_bytes: int
    label: int


@dataclass(frozen=True)
class Drawn:
    """The pictures that are run, in their order.

    Args:
        calibration: further pictures for calibration; none if there are fewer than CALIBRATION.
        classes: how many classes there are, where the names of folders tell; `said_by` is what does.
    """

    folder: Path
    pictures: tuple[Picture, ...]
    calibration: tuple[Picture, ...]
    classes: int | None
    said_by: str

    def as_dict(self) -> dict[str, Any]:
        """What the model's builder reads (see cellfarm.models.labelled)."""
        return {
            "folder": str(self.folder),
            "pictures": [
                [picture.name, picture.size_bytes, picture.label] for picture in self.pictures
            ],
            "calibration": [picture.name for picture in self.calibration],
            "classes": self.classes,
            "told_by": self.said_by,
        }


def check(recipe: Recipe, where: str) -> None:
    """Raise one UserError if a recipe's model has no accuracy that pictures could tell.

    What only the model itself tells (its classes; the input of a user's file whose recipe leaves
    it out) is checked when it is built.
    """
    if recipe.labelled is None:
        return
    problem = _problem(recipe, recipe.labelled)
    if problem:
        raise UserError(f"{where}: key 'labelled': {problem}")


def _problem(recipe: Recipe, wanted: Labelled) -> str | None:
    if recipe.task != "classification":
        return f"it needs task: classification; found {recipe.task or 'no task'}"
    if recipe.weights and recipe.weights.kind == "random":
        return "random weights have no accuracy: it needs weights of kind: pretrained"
    inputs = recipe.inputs or ()
    if len(inputs) > 1:
        return f"it needs a model with one input, a picture; this one has {len(inputs)}"
    for spec in inputs:
        shape = spec.shape
        if shape and not _is_picture(shape):
            return (
                "it needs an input of one picture with three channels, [1, 3, height, width] or "
                f"[1, height, width, 3]; input '{spec.name}' is {list(shape)}"
            )
        if not (spec.dtype or "float32").startswith("float"):
            return f"it needs an input of floating-point numbers; '{spec.name}' is {spec.dtype}"
        if (spec.content or "image") != "image":
            return f"it needs an input with content: image; '{spec.name}' has {spec.content}"
        resize = wanted.resize
        if shape and resize is not None and resize < max(_sides(shape)):
            return f"resize: {resize} is smaller than the input, {list(shape)}"
    return None


def _is_picture(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[0] == 1 and 3 in (shape[1], shape[3])


def _sides(shape: Sequence[int]) -> Sequence[int]:
    return shape[2:] if shape[1] == 3 else shape[1:3]


def draw(project: Project, recipe: Recipe) -> Drawn:
    """The pictures that a recipe asks for; only names and sizes are read.

    They are drawn evenly over the classes that have any, in rounds of one picture per class, so the
    first n of them are even, too. The order within a class, and that of the classes in a round,
    is that of the names' digests: any set of files always gives the same pictures.

    Raises:
        UserError: no such folder or file, no pictures, names that are no classes.
    """
    wanted = recipe.labelled
    assert wanted is not None
    where = f"models/{recipe.name}.yaml: key 'labelled"
    folder = project.root / wanted.folder
    if not folder.is_dir():
        raise UserError(
            f"{where}.folder': there is no folder {wanted.folder} "
            "(a path is relative to the project's folder)"
        )
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        files = {name: _files(folder, name) for name in names}
    except OSError as error:
        raise UserError(f"{where}.folder': {folder} cannot be read: {error.strerror}") from error
    if not any(files.values()):
        raise UserError(
            f"{where}.folder': there are no pictures in sub-folders of {wanted.folder}: "
            f"it takes one sub-folder per class, with {', '.join(SUFFIXES)} files"
        )
    labels, classes, said_by = _labels(project, wanted, names, where)
    count = wanted.images or IMAGES
    try:
        pictures = tuple(
            Picture(name, (folder / name).stat().st_size, labels[of])
            for of, name in _rounds(files, count + CALIBRATION)
        )
    except OSError as error:
        raise UserError(f"{where}.folder': {error.filename}: {error.strerror}") from error
    further = pictures[count:] if len(pictures) == count + CALIBRATION else ()
    return Drawn(folder.absolute(), pictures[:count], further, classes, said_by)


def identity(project: Project, recipe: Recipe) -> str:
    """The digest of what is drawn and how it is prepared: names, sizes and labels of the drawn
    pictures, not their dates or place, and not what is in them (that would take reading them all)."""
    drawn = draw(project, recipe)
    assert recipe.labelled is not None
    wanted = msgspec.to_builtins(recipe.labelled)
    settings = {name: value for name, value in wanted.items() if name not in _SELECTION}
    pictures, further = (
        [[picture.name, picture.size_bytes, picture.label] for picture in group]
        for group in (drawn.pictures, drawn.calibration)
    )
    return digest([settings, pictures, further, drawn.classes])


def write_list(project: Project, recipe: Recipe) -> Path:
    """Write down which pictures are drawn, for the model's builder; returns the file."""
    text = json.dumps(draw(project, recipe).as_dict(), indent=0) + "\n"
    path = project.results / "labelled" / f"{digest(text)}.json"
    if not path.is_file():
        write_atomically(path, text)
    return path


def _files(folder: Path, of: str) -> list[str]:
    """The pictures below a class's folder, relative to the folder of all."""
    pictures = []
    for place, _, names in os.walk(folder / of, onerror=_raise):
        below = Path(place).relative_to(folder).as_posix()
        pictures += [
            f"{below}/{name}"
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return pictures


def _raise(error: OSError) -> None:
    raise error


def _labels(
    project: Project, wanted: Labelled, names: Sequence[str], where: str
) -> tuple[dict[str, int], int | None, str]:
    """The index of each folder's class; how many classes there are, and what tells that."""
    if wanted.classes is not None:
        lines = _class_names(project, wanted.classes, where)
        unknown = [name for name in names if name not in lines]
        if unknown:
            raise UserError(
                f"{where}.classes': the folder '{unknown[0]}' of {wanted.folder} "
                f"is no line of {wanted.classes}"
            )
        labels = {name: number for number, name in enumerate(lines)}
        return labels, len(lines), f"{wanted.classes} has {len(lines)} lines"
    if all(name.isascii() and name.isdigit() for name in names):
        labels = {name: int(name) for name in names}
        if len(set(labels.values())) < len(names):
            raise UserError(f"{where}.folder': two sub-folders of {wanted.folder} are one number")
        return labels, None, ""
    labels = {name: number for number, name in enumerate(names)}
    return labels, len(names), f"{wanted.folder} has {len(names)} sub-folders"


def _class_names(project: Project, file: str, where: str) -> list[str]:
    try:
        text = (project.root / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{where}.classes': there is no file {file} "
            "(a path is relative to the project's folder)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}.classes': {file} cannot be read: {error}") from error
    lines = [line.strip() for line in text.rstrip().splitlines()]
    named = [line for line in lines if line]
    if len(set(named)) < len(named):
        twice = next(line for line in named if named.count(line) > 1)
        raise UserError(f"{where}.classes': '{twice}' stands twice in {file}")
    return lines


def _rounds(files: Mapping[str, Sequence[str]], count: int) -> list[tuple[str, str]]:
    """At most `count` pairs of class and picture: each round takes one of every class that has any
    left."""
    waiting = {of: sorted(names, key=_shuffled) for of, names in files.items()}
    chosen: list[tuple[str, str]] = []
    number = 0
    while len(chosen) < count:
        left = [of for of, names in waiting.items() if number < len(names)]
        if not left:
            break
        left.sort(key=lambda of: _shuffled(f"{number}/{of}"))
        chosen += [(of, waiting[of][number]) for of in left[: count - len(chosen)]]
        number += 1
    return chosen


def _shuffled(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
