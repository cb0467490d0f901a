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
        raise Unsupported(str(error)) from error
    with (out / "model.pte").open("wb") as file:
        executable.write_to_file(file)
