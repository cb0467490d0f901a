"""The context of a pass: its settings and the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Context:
    """What a pass may use.

    Args:
        settings: those of the variant's YAML, and the defaults of the others.
        inputs: the model's inputs of record, in order.
        calibration: inputs to observe or train on, without the held-out inputs that judge the result.
        seed: for randomness; torch's generator is already seeded with it.
        task: such as ``classification``.
    """

    settings: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    calibration: Sequence[tuple[Tensor, ...]]
    seed: int
    task: str
