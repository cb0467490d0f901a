"""Routes from a model's format to a format that a library's converter reads. Pure.

A model that is built from an architecture is a PyTorch program (``pt2``), and may also be in its
source's format; a user's file has one format. Each edge is one exporter. The route with the fewest
edges wins: every export may lose something. Every export of a user's file is checked against the
file's outputs (see cellfarm.models.checked_exports).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath

from ..base.names import Format
from ..wanted.recipes import Recipe

#: format -> the name of its file, in the folder of a model or of an export. `torchscript` is a trace, a
#: sequence of operators; `script` is a user's TorchScript, which may hold any code.
FILES: dict[Format, str] = {
    "pt2": "model.pt2",
    "onnx": "model.onnx",
    "torchscript": "model.torchscript.pt",
    "script": "model.script.pt",
    "tflite": "model.tflite",
    "keras": "model.keras",
}

#: suffix of a user's file -> its format
SUFFIXES: dict[str, Format] = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".pt2": "pt2",
    ".pt": "script",
    ".pth": "script",
    ".ts": "script",
}

#: (from, to) -> the environment of the exporter
EDGES: dict[tuple[Format, Format], str] = {
    ("pt2", "onnx"): "models",
    ("pt2", "torchscript"): "models",
    ("script", "pt2"): "models",
    ("onnx", "pt2"): "models",
    ("tflite", "onnx"): "models.tflite",
}

#: format -> the environment of the converters that read it, if it needs a framework; converters of the
#: other formats run in their library's conversion environment.
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
    """The format of a recipe's model.

    Models from Keras are both Keras models and programs (see `model_formats`).

    Raises:
        ValueError: a user's file has no known suffix.
    """
    source = recipe.source
    if source == "file":
        return format_of(str(recipe.file))
    return "keras" if source == "keras" else "pt2"


def model_formats(native: Format) -> tuple[Format, ...]:
    """The formats of a model's files: its native format, and the program of an architecture."""
    return (native,) if native in SUFFIXES.values() else (native, "pt2")


def format_of(file: str) -> Format:
    """The format of a user's file, by its suffix.

    Raises:
        ValueError: the suffix is unknown.
    """
    suffix = PurePosixPath(file).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ValueError(f"'{file}' is of no known format: the suffixes are {known}")
    return SUFFIXES[suffix]


@cache
def route(native: Format, form: Format) -> tuple[Format, ...] | None:
    """The formats from one of the model's files to `form`, both included; None without a route.

    The start of a route is itself a route, so routes share their first exports.
    """
    routes: dict[Format, tuple[Format, ...]] = {start: (start,) for start in model_formats(native)}
    queue = deque(routes)
    while queue:
        reached = queue.popleft()
        for start, end in EDGES:
            if start == reached and end not in routes:
                routes[end] = (*routes[reached], end)
                queue.append(end)
    return routes.get(form)


@cache
def choose(native: Format, sources: tuple[Format, ...]) -> Format | None:
    """The format that a library gets, of those that it reads, best first: the one with the shortest
    route, and among equals the first; None without a route."""
    routes = [steps for form in sources if (steps := route(native, form))]
    return min(routes, key=len)[-1] if routes else None


def exporter_of(start: Format, end: Format) -> str:
    """The module of cellfarm/models that exports one format to another."""
    return f"export_{start}_to_{end}"


def worker_entries(recipe: Recipe, native: Format) -> tuple[list[str], str]:
    """The entry modules of a model's build, below the package, and the module that handles it."""
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
    """The entry modules of the description of a user's file, below the package."""
    reader = f"user_{_READERS[format_of(file)]}"
    return [f"models/{name}.py" for name in ("worker", "describe_file", reader)]


#: format of a user's file -> <name> of the module user_<name> that reads it
_READERS: dict[Format, str] = {
    "onnx": "onnx", "tflite": "tflite", "pt2": "torch", "script": "torch"
}  # fmt: skip


def no_route(title: str, native: Format, sources: Sequence[Format]) -> str:
    """The reason of an `unsupported` result."""
    read = " and ".join(_TITLES[form] for form in sources)
    return f"{title} reads {read}; from {_TITLES[native]} there is no faithful route to that"
