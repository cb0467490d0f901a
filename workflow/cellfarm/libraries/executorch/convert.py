"""A PyTorch program to ExecuTorch, delegated to XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.pte``.

    Raises:
        Unsupported: an operator is not in ExecuTorch's core set or has no kernel.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.error import ExportError
    from torch._export.verifier import SpecViolationError

    program = torch.export.load(source)
    try:
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        executable = lowered.to_executorch()
    except (ExportError, SpecViolationError, NotImplementedError) as error:
        raise Unsupported(_headline(error)) from error
    except RuntimeError as error:
        # An operator without a kernel shows only when memory is planned.
        if "Missing out variants" not in str(error):
            raise
        raise Unsupported(_headline(error)) from error
    with (out / "model.pte").open("wb") as file:
        executable.write_to_file(file)


def _headline(error: Exception) -> str:
    """The first line that says something: the rest is advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
