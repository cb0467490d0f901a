"""A PyTorch program to TFLite by litert-torch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.tflite``; inputs keep PyTorch's layout, and int64 ones become int32.

    Raises:
        Unsupported: the converter has no lowering for an operator.
    """
    target = out / "model.tflite"
    if source.suffix == ".tflite":
        shutil.copyfile(source, target)
        return
    import litert_torch
    import numpy as np
    import torch

    program = torch.export.load(source)
    with np.load(model["sample_inputs"]) as arrays:
        inputs = tuple(torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"])
    try:
        converted = litert_torch.convert(program.module(), inputs)
    except NotImplementedError as error:
        raise Unsupported(str(error)) from error
    converted.export(str(target))
