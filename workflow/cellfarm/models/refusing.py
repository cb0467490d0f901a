"""The refusals of all sources of architectures: unknown names and wrong arguments."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from protocol import RecipeError, shorten
from torch import nn

# Arguments that would fetch trained weights: a recipe names its weights in `weights`.
DOWNLOADS = (
    *("weights", "weights_backbone", "pretrained", "progress"),
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"),
)


def arguments_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's arguments for the architecture.

    Raises:
        RecipeError: an argument would fetch trained weights.
    """
    arguments = dict(recipe.get("arguments") or {})
    for argument in DOWNLOADS:
        if argument in arguments:
            raise RecipeError(f"argument {argument!r} belongs into the recipe's 'weights'")
    return arguments


def construct(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """The architecture that `build` gives; RecipeError where it refuses its arguments."""
    try:
        return build()
    except RecipeError:
        raise
    except Exception as error:
        # Any error of an architecture here is about its arguments.
        raise RecipeError(f"{name} does not take these arguments: {shorten(error)}") from error


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raise RecipeError if a name is not among `known`."""
    if name not in known:
        raise RecipeError(unknown(kind, name, known))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown kind 'nmae'; close: name`."""
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"; close: {', '.join(close)}" if close else ""
    return f"unknown {kind} {name!r}{hint}"
