"""A PyTorch program to LiteRT (TFLite) by litert-torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.tflite``; inputs keep PyTorch's layout, and int64 ones become int32.

    Raises:
        Unsupported: litert-torch has no lowering for an operator.
    """
    import litert_torch
    import numpy as np
    import torch

    program = torch.export.load(source)
    with np.load(model["sample_inputs"]) as arrays:
        inputs = tuple(torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"])
    try:
        converted = litert_torch.convert(program.module(), inputs)
    except (NotImplementedError, RuntimeError) as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise Unsupported(reason) from error
    converted.export(str(out / "model.tflite"))


def refusal(error: BaseException | None) -> str | None:
    """The converter's own words where an error, or one of its causes, says that it lacks something.

    Returns:
        None where the error is of another kind.
    """
    while error is not None:
        text = str(error)
        low = text.lower()
        if "lowering not found" in low or "not supported" in low or "unsupported" in low:
            return text
        error = error.__cause__ or error.__context__
    return None
