"""Apply a chain of passes to a model: the derived model has the same files as a built model."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from model_folder import Arrays, ordered, read_facts, read_samples, write_facts, write_samples
from numpy.typing import NDArray
from pass_context import Context
from programs import Flat, count_flops, export_module, load_program, run_module
from protocol import RecipeError, Unsupported, import_named
from torch import nn

#: The facts of a model that no pass changes.
_INHERITED = ("task", "precision")
_SEED = 0

#: the pass's name, its module, its settings
Link = tuple[str, ModuleType, dict[str, Any]]


def handle(request: Mapping[str, Any]) -> None:
    """Derive a model.

    The folder gets the files of a built model (see `model_folder`); the references are the derived model's
    outputs. The parent's are in ``parent_reference.npz`` and ``heldout_parent_reference.npz``.

    Args:
        request: ``passes``, a list of [name, settings]; ``parent``, the folder of the parent model's files;
            ``out``, the empty folder to fill.

    Raises:
        RecipeError: there is no such pass, its settings do not fit the model, or its model cannot
            replace the parent.
        Unsupported: the parent is no PyTorch program, or a pass refuses it.
    """
    parent, out = Path(request["parent"]), Path(request["out"])
    chain = [_load_pass(name, settings) for name, settings in request["passes"]]
    if not (parent / "model.pt2").is_file():
        raise Unsupported("passes change PyTorch programs, and the model is in another format")
    torch.set_num_threads(1)  # as in builds: steps run side by side
    facts = read_facts(parent)
    inputs, calibration, held_out = (
        read_samples(parent / f"{name}.npz") for name in ("inputs", "calibration", "heldout")
    )
    program = load_program(parent / "model.pt2").module()
    module = Flat(_apply(chain, program, inputs, calibration, facts))

    def run(arrays: Arrays) -> Arrays:
        results = run_module(module, ordered(arrays, facts["inputs"]))
        return dict(zip([spec["name"] for spec in facts["outputs"]], results, strict=True))

    example = ordered(inputs, facts["inputs"])
    _check(run_module(module, example), facts["outputs"])
    outputs = run(inputs)
    torch.export.save(export_module(module, example), out / "model.pt2")
    write_samples(out, run, inputs, outputs, calibration, held_out)
    for kind in ("", "heldout_"):
        shutil.copyfile(parent / f"{kind}reference.npz", out / f"{kind}parent_reference.npz")
    derived = {name: facts[name] for name in _INHERITED if name in facts} | {
        "passes": [[name, settings] for name, _, settings in chain],
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "flops": count_flops(module, example),
        "torch": torch.__version__.partition("+")[0],
    }
    write_facts(out, inputs, outputs, derived)
    if (parent / "labelled.json").is_file():
        labelled = import_named("labelled", "module 'labelled'")
        labelled.classify_again(parent, out, run)


def _load_pass(name: str, settings: Mapping[str, Any]) -> Link:
    return name, import_named(f"passes.{name}", f"pass {name!r}"), settings


def _apply(
    chain: Sequence[Link],
    module: nn.Module,
    inputs: Arrays,
    calibration: Arrays,
    facts: Mapping[str, Any],
) -> nn.Module:
    example, samples = (
        [torch.from_numpy(array) for array in ordered(arrays, facts["inputs"])]
        for arrays in (inputs, calibration)
    )
    for name, implementation, settings in chain:
        context = Context(
            settings=settings,
            inputs=tuple(tensor.clone() for tensor in example),
            calibration=[tuple(sample) for sample in zip(*samples, strict=True)],
            seed=_SEED,
            task=facts["task"],
        )
        torch.manual_seed(_SEED)
        try:
            module = implementation.apply(module, context)
        except (RecipeError, Unsupported) as error:
            raise type(error)(f"pass {name!r}: {error}") from error
        except Exception as error:
            traceback.print_exc()
            message = f"pass {name!r}: {type(error).__name__}: {error}"
            raise RecipeError(message) from error
        if not isinstance(module, nn.Module):
            raise RecipeError(f"pass {name!r} returns no module, but {type(module).__name__}")
    return module


def _check(outputs: Sequence[NDArray[Any]], specs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a derived model that cannot replace its parent."""
    if len(outputs) != len(specs):
        raise RecipeError(f"the derived model has {len(outputs)} outputs, its parent {len(specs)}")
    for array, spec in zip(outputs, specs, strict=True):
        name, shape, dtype = spec["name"], list(array.shape), str(array.dtype)
        if (shape, dtype) != (spec["shape"], spec["dtype"]):
            raise RecipeError(
                f"output {name!r} of the derived model is {dtype} {shape}, that of its parent"
                f" {spec['dtype']} {spec['shape']}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RecipeError(f"output {name!r} of the derived model is not finite")
