"""`cellfarm models add FILE`: writes a recipe for a model file of a user's."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ..base.errors import CellfarmError, UserError
from ..base.files import write_atomically
from ..base.project import Project
from ..conversion.routes import describer_entries, format_of
from ..wanted.configuration import parse_recipe
from .names import check_name

app = typer.Typer(help="The models in models/.", no_args_is_help=True)

#: A larger input is a typing mistake.
_MAX_VALUES = 10**9
#: For inputs of whole numbers: 0 and 1 are indices in any vocabulary, and both values of a mask.
_VOCABULARY = 2


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="An .onnx, .tflite, .pt2 or TorchScript file.")],
    name: Annotated[str | None, typer.Option(help="By default the file's.")] = None,
    task: Annotated[str, typer.Option(help="classification compares the top class.")] = "encoding",
    shape: Annotated[
        list[str] | None,
        typer.Option(help="The shape of an input that the file leaves free: input=1,3,224,224"),
    ] = None,
) -> None:
    """Write models/<name>.yaml for a model file of your own. TorchScript files hold code, which is
    run: take only files that you trust."""
    project = Project.here()
    path = add_file(project, file, name, task, parse_shapes(shape or []))
    print(f"{project.relative(path)} written; look at what its inputs hold (`content`), then:")
    print(f"snakemake --config models={path.stem}")


def add_file(
    project: Project, file: Path, name: str | None, task: str, shapes: Mapping[str, list[int]]
) -> Path:
    """Write the recipe of a user's model file; returns the recipe's path.

    Args:
        shapes: input -> shape, for inputs whose shape the file leaves open.

    Raises:
        UserError: the file cannot be read, the name is invalid or taken, a shape is missing or
            contradicts the file, or the task is unknown.
    """
    try:
        format_of(file.name)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    name = name or re.sub(r"[^A-Za-z0-9_.+-]", "_", file.stem).strip("_.+-") or "model"
    check_name(name)
    target = project.models / f"{name}.yaml"
    if target.exists():
        raise UserError(f"{project.relative(target)} is there already: give another --name")
    inputs = _inputs(describe(project, file), shapes)
    if not inputs:
        raise UserError(f"{file} has no inputs: there is nothing to measure it with")
    recipe = {"name": name, "task": task, "source": "file", "file": project.relative(file)}
    parse_recipe(recipe | {"inputs": inputs}, f"{file} as models/{target.name}")
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) + "inputs:\n"
    for entry in inputs:
        line = yaml.safe_dump(entry, sort_keys=False, default_flow_style=True, width=1000).strip()
        text += f"  - {line}\n"
    write_atomically(target, text)
    return target


def describe(project: Project, file: Path) -> list[dict[str, Any]]:
    """`name`, `shape` and `dtype` of a file's inputs, as cellfarm.models.describe_file writes them.

    Raises:
        UserError: the file cannot be read.
        CellfarmError: the environment that reads it cannot be installed.
    """
    from ..base.code import PlannedCode
    from ..base.records import FILES
    from ..conversion.workers import fill
    from ..envs.environments import MODELS_ENVIRONMENT, build, locate

    environment = locate(project, MODELS_ENVIRONMENT)
    if environment.state() is None:
        print("Installing the environment that reads models ...", file=sys.stderr)
    state = build(environment)
    if state.status != "ok":
        raise CellfarmError(str(state.reason))
    scratch = Path(tempfile.mkdtemp(prefix="cellfarm-"))
    try:
        code = PlannedCode.of(describer_entries(file.name), ["models"])
        request = {"module": "describe_file", "file": str(file.absolute())}
        record = fill(project, scratch / "described", environment, code, request)
        if record.status != "ok":
            raise UserError(str(record.reason))
        description = scratch / "described" / FILES / "description.json"
        return list(json.loads(description.read_text(encoding="utf-8"))["inputs"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def parse_shapes(options: Sequence[str]) -> dict[str, list[int]]:
    """`["x=1,3,224,224"]` -> {"x": [1, 3, 224, 224]}.

    Raises:
        UserError: an option has another form.
    """
    shapes = {}
    for text in options:
        name, equals, sizes = text.rpartition("=")
        parts = sizes.split(",") if sizes else []
        if not equals or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            raise UserError(f"--shape {text}: expected input=1,3,224,224")
        shapes[name] = [int(part) for part in parts]
    return shapes


def _inputs(
    described: Sequence[Mapping[str, Any]], shapes: Mapping[str, list[int]]
) -> list[dict[str, Any]]:
    names = [entry["name"] for entry in described]
    for name in shapes:
        if name not in names:
            raise UserError(f"--shape {name}: the file's inputs are {', '.join(names)}")
    return [_input(entry, shapes.get(entry["name"])) for entry in described]


def _input(described: Mapping[str, Any], option: list[int] | None) -> dict[str, Any]:
    """The recipe's entry for an input.

    Args:
        option: the shape that the user wants.
    """
    shape, name = option or described["shape"], described["name"]
    if shape and shape[0] is None:
        shape = [1, *shape[1:]]  # a free batch
    if shape is None or None in shape:
        sizes = "no shape" if shape is None else f"free sizes, {shape}".replace("None", "?")
        raise UserError(f"input {name} has {sizes} in the file: give --shape {name}=1,...")
    if 0 in shape:
        raise UserError(f"input {name} has a size of 0 in the file, {shape}: it holds no values")
    in_file = described["shape"] or shape
    fits = len(in_file) == len(shape) and all(
        fixed in (None, size) for fixed, size in zip(in_file, shape, strict=True)
    )
    if not fits:
        sizes = str(in_file).replace("None", "?")
        raise UserError(f"--shape {name}={','.join(map(str, shape))}: the file has {sizes}")
    if math.prod(shape) > _MAX_VALUES:
        raise UserError(f"input {name}: {shape} has more than {_MAX_VALUES:.0e} values")
    dtype = described["dtype"] or "float32"
    entry = {"name": name, "shape": shape, "dtype": dtype}
    if dtype.startswith("float"):
        return entry | {"content": "image"}
    return entry | {"content": "tokens", "below": 256 if dtype == "uint8" else _VOCABULARY}
