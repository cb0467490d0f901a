"""The context of a pass: its settings and the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol import RecipeError

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


def fill_settings(declared: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a pass, with its defaults.

    Args:
        declared: the pass's ``SETTINGS``, by name: the type of a required setting, or the default value of
            an optional one.

    Raises:
        RecipeError: a setting is unknown, missing or of another type.
    """
    for name in settings:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise RecipeError(f"unknown setting {name!r}; known: {known}")
    filled = {}
    for name, declaration in declared.items():
        required = isinstance(declaration, type)
        if name in settings:
            filled[name] = _checked(
                name, settings[name], declaration if required else type(declaration)
            )
        elif required:
            raise RecipeError(f"the setting {name!r} is missing")
        else:
            filled[name] = declaration
    return filled


def _checked(name: str, value: Any, expected: type) -> Any:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise RecipeError(
            f"the setting {name!r} must be of type {expected.__name__}, not {value!r}"
        )
    return value
