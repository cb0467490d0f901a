"""TorchScript to PyTorch Mobile: optimize_for_mobile, quantised before that for INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from cellfarm_convert import Unsupported
from conversion import newer
from conversion.quantising import quantise
from torch import Tensor
from torch.jit.mobile import _load_for_lite_interpreter
from torch.utils.mobile_optimizer import MobileOptimizerType, optimize_for_mobile

ENGINE = "qnnpack"
MODEL = "model.ptl"

#: This pass makes wrong results of a frozen module, and freezing has already done its work.
_BLOCKED = {MobileOptimizerType.CONV_BN_FUSION}
#: Errors for an operator that is newer than this version, or has no kernel for a type.
_UNKNOWN = ("Unknown builtin op", "could not be found", "cannot be found", "not implemented for")


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.ptl``; see `conversion.quantising` for ``int8`` and ``int8_dynamic``.

    Operators that are newer than this version are replaced if `conversion.newer` knows them.

    Raises:
        Unsupported: this version lacks an operator, or can quantise nothing of the model.
    """
    torch.set_grad_enabled(False)
    torch.backends.quantized.engine = ENGINE
    with np.load(model["sample_inputs"]) as arrays:
        inputs = [torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"]]
    try:
        newer.declare()
        module = torch.jit.freeze(torch.jit.load(str(source), map_location="cpu").eval())
        module = newer.replace(module, inputs)
        if variant != "fp32":
            samples = _calibration(model) if variant == "int8" else []
            module = quantise(module, inputs, variant == "int8_dynamic", samples)
        optimised = optimize_for_mobile(module, optimization_blocklist=_BLOCKED)
        optimised._save_for_lite_interpreter(str(out / MODEL))
        # Loading looks up the operators, and running checks their arguments.
        _load_for_lite_interpreter(str(out / MODEL))(*inputs)
    except RuntimeError as error:
        reason = _reason(str(error))
        if reason is None:
            raise
        raise Unsupported(reason) from error


def _calibration(model: dict[str, Any]) -> list[list[Tensor]]:
    """The samples of the calibration set, each with a tensor for each input."""
    with np.load(model["calibration"]) as arrays:
        stacks = [torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"]]
    return [list(sample) for sample in zip(*stacks, strict=True)]


def _reason(text: str) -> str | None:
    """The line that names an operator which this version cannot run; None for another error."""
    for line in text.splitlines():
        if any(words in line for words in _UNKNOWN):
            return line.strip()
    return None
