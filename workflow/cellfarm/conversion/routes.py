"""From the format that a model is in to one that a library's converter reads. Pure.

A model built from an architecture is a PyTorch program (``pt2``), and may also be what its source
made it as; a user's own file is what it is. Each edge is one exporter, and the least number of them
wins: every step is a chance to lose something. Every step of a user's file is checked against the
file's own outputs (see cellfarm.models.checked_exports).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath

from ..base.names import Format
from ..wanted.recipes import Recipe

#: format -> the name of its file, in the folder of a model or of an export. `torchscript` is a trace,
#: operators one after the other; `script` is TorchScript of a user's own, which may hold any code.
FILES: dict[Format, str] = {
    "pt2": "model.pt2",
    "onnx": "model.onnx",
    "torchscript": "model.torchscript.pt",
    "script": "model.script.pt",
    "tflite": "model.tflite",
    "keras": "model.keras",
}

#: how a user's file may be called -> what it is
SUFFIXES: dict[str, Format] = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".pt2": "pt2",
    ".pt": "script",
    ".pth": "script",
    ".ts": "script",
}

#: (from, to) -> the environment that its exporter runs in
EDGES: dict[tuple[Format, Format], str] = {
    ("pt2", "onnx"): "models",
    ("pt2", "torchscript"): "models",
    ("script", "pt2"): "models",
    ("onnx", "pt2"): "models",
    ("tflite", "onnx"): "models.tflite",
}

#: The environment that a library's converter runs in where what it reads needs a framework of its
#: own; every other format is read in the library's own conversion environment.
READ_IN: dict[str, str] = {"keras": "models.tflite"}

_TITLES = {
    "pt2": "PyTorch programs",
    "onnx": "ONNX",
    "torchscript": "TorchScript traces",
    "script": "TorchScript",
    "tflite": "TFLite",
    "keras": "Keras models",
}


def native_format(recipe: Recipe) -> Format:
    """What the files of a recipe's model hold.

    A source that is called as a format is leaves its models in that format too (see `at_hand`).

    Raises:
        ValueError: the suffix of a user's file says no format.
    """
    source = recipe.source
    if source == "file":
        return format_of(str(recipe.file))
    return "keras" if source == "keras" else "pt2"


def at_hand(native: Format) -> tuple[Format, ...]:
    """The formats that a model's own files hold: the native one, and the program that every
    architecture is built as."""
    return (native,) if native in SUFFIXES.values() else (native, "pt2")


def format_of(file: str) -> Format:
    """The format of a user's file, by its suffix.

    Raises:
        ValueError: the suffix says none.
    """
    suffix = PurePosixPath(file).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ValueError(f"'{file}' is of no known format: the suffixes are {known}")
    return SUFFIXES[suffix]


@cache
def route(native: Format, form: Format) -> tuple[Format, ...] | None:
    """The formats from one that is at hand to `form`, both included; None where there is no way.

    A part of a route is the route to its own end, so routes share their first steps.
    """
    before: dict[Format, Format | None] = dict.fromkeys(at_hand(native))
    waiting = deque(before)
    while waiting:
        here = waiting.popleft()
        for start, end in EDGES:
            if start == here and end not in before:
                before[end] = here
                waiting.append(end)
    if form not in before:
        return None
    steps: list[Format] = []
    step: Format | None = form
    while step is not None:
        steps.append(step)
        step = before[step]
    return tuple(reversed(steps))


@cache
def choose(native: Format, sources: tuple[Format, ...]) -> Format | None:
    """Which of the formats that a library reads, best first, it is given: the one that the fewest
    steps lead to, and of several the one that the library likes best; None where no way leads."""
    routes = [steps for form in sources if (steps := route(native, form))]
    return min(routes, key=len)[-1] if routes else None


def exporter_of(start: Format, end: Format) -> str:
    """The module of cellfarm/models that exports one format to another."""
    return f"export_{start}_to_{end}"


def worker_entries(recipe: Recipe, native: Format) -> tuple[list[str], str]:
    """The modules that building a model enters, below the package, and the one that does it."""
    if recipe.is_file:
        module = "build_file"
        further = [f"user_{_READERS[native]}"]
    else:
        module = "build_architecture"
        further = [f"source_{recipe.source}"]
    if recipe.labelled:
        further.append("labelled")
    return [f"models/{name}.py" for name in ("worker", module, *further)], module


def describer_entries(file: str) -> list[str]:
    """The modules that describing a user's own file enters, below the package."""
    reader = f"user_{_READERS[format_of(file)]}"
    return [f"models/{name}.py" for name in ("worker", "describe_file", reader)]


#: format of a user's file -> the module that reads it is user_<this>
_READERS: dict[Format, str] = {
    "onnx": "onnx", "tflite": "tflite", "pt2": "torch", "script": "torch"
}  # fmt: skip


def no_route(title: str, native: Format, sources: Sequence[Format]) -> str:
    """Why a library gets nothing: the reason of an `unsupported` result."""
    read = " and ".join(_TITLES[form] for form in sources)
    return f"{title} reads {read}; from {_TITLES[native]} there is no faithful route to that"
