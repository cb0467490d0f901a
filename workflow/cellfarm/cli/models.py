"""`cellfarm models add FILE`: a recipe for a user's own model, from what the file tells."""

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

#: A larger input is a slip of the finger.
_MAX_VALUES = 10**9
#: Of an input of whole numbers: 0 and 1 are indices in any vocabulary, and both values of a mask.
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
    """Write the recipe of a user's own file; returns where.

    Args:
        shapes: input -> shape, for inputs whose shape is not (all) in the file.

    Raises:
        UserError: a file that cannot be read, a name that is none or is taken, a shape that is missing
            or is not the file's, a task that there is not.
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
    """What a file tells of its inputs: `name`, `shape` and `dtype`, as
    cellfarm.models.describe_file writes them.

    Raises:
        UserError: it cannot be read.
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
        written = scratch / "described" / FILES / "description.json"
        return list(json.loads(written.read_text(encoding="utf-8"))["inputs"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def parse_shapes(given: Sequence[str]) -> dict[str, list[int]]:
    """`["x=1,3,224,224"]` -> {"x": [1, 3, 224, 224]}.

    Raises:
        UserError: not of that form.
    """
    shapes = {}
    for text in given:
        name, equals, sizes = text.rpartition("=")
        parts = sizes.split(",") if sizes else []
        if not equals or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            raise UserError(f"--shape {text}: expected input=1,3,224,224")
        shapes[name] = [int(part) for part in parts]
    return shapes


def _inputs(
    told: Sequence[Mapping[str, Any]], shapes: Mapping[str, list[int]]
) -> list[dict[str, Any]]:
    names = [one["name"] for one in told]
    for name in shapes:
        if name not in names:
            raise UserError(f"--shape {name}: the file's inputs are {', '.join(names)}")
    return [_input(one, shapes.get(one["name"])) for one in told]


def _input(told: Mapping[str, Any], given: list[int] | None) -> dict[str, Any]:
    shape, name = given or told["shape"], told["name"]
    if shape and shape[0] is None:
        shape = [1, *shape[1:]]  # a free batch
    if shape is None or None in shape:
        sizes = "no shape" if shape is None else f"free sizes, {shape}".replace("None", "?")
        raise UserError(f"input {name} has {sizes} in the file: give --shape {name}=1,...")
    if 0 in shape:
        raise UserError(f"input {name} has a size of 0 in the file, {shape}: it holds no values")
    fixed = told["shape"] or shape
    fits = len(fixed) == len(shape) and all(
        size in (None, wanted) for size, wanted in zip(fixed, shape, strict=True)
    )
    if not fits:
        sizes = str(fixed).replace("None", "?")
        raise UserError(f"--shape {name}={','.join(map(str, shape))}: the file has {sizes}")
    if math.prod(shape) > _MAX_VALUES:
        raise UserError(f"input {name}: {shape} has more than {_MAX_VALUES:.0e} values")
    dtype = told["dtype"] or "float32"
    entry = {"name": name, "shape": shape, "dtype": dtype}
    if dtype.startswith("float"):
        return entry | {"content": "image"}
    return entry | {"content": "tokens", "below": 256 if dtype == "uint8" else _VOCABULARY}
