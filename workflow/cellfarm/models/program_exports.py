"""Functions that the exporters of a program share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from model_folder import ordered, read_facts, read_samples
from torch import Tensor


def load(
    request: Mapping[str, Any],
) -> tuple[torch.export.ExportedProgram, tuple[Tensor, ...], dict[str, Any]]:
    """The program, its inputs of record, and the model's facts.

    Args:
        request: ``source``, the file of the program; ``model``, the folder of the model.
    """
    model = Path(request["model"])
    facts = read_facts(model)
    inputs = ordered(read_samples(model / "inputs.npz"), facts["inputs"])
    return torch.export.load(request["source"]), tuple(map(torch.from_numpy, inputs)), facts


def root_cause(error: BaseException) -> BaseException:
    """The first cause of an error; exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
