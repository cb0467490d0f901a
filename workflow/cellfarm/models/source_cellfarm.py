"""Architectures that are written here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yolox
from network import Network


def build(recipe: Mapping[str, Any]) -> Network:
    """``yolox_nano``, ``yolox_tiny`` or ``yolox_s`` (see `yolox.build`).

    Raises:
        RecipeError: there is no such architecture, or it does not take an argument.
    """
    model = yolox.build(recipe["architecture"], dict(recipe.get("arguments") or {}))
    return Network(model, recipe)
