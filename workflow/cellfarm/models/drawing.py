"""Seeded model inputs. They need no data set: what is measured does not depend on the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import RecipeError

CONTENTS = ("image", "tokens", "ones")


def draw_inputs(
    specs: list[dict[str, Any]], seed: int, *, stream: int = 0, batch: int = 1
) -> dict[str, NDArray[Any]]:
    """Draw one array for each input, in order.

    Args:
        specs: the recipe's inputs: ``name``, ``shape``, ``dtype``, ``content`` and, for tokens,
            ``below`` (the size of the vocabulary).
        seed: the recipe's seed.
        stream: 0 for the inputs of record, others for calibration: independent draws.
        batch: repeats the first dimension with different content.

    Raises:
        RecipeError: an unknown content or dtype, or a shape that is none.
    """
    drawn = {}
    for position, spec in enumerate(specs):
        rng = np.random.default_rng([seed, stream, position])
        shape = _shape(spec)
        drawn[spec["name"]] = _draw(spec, (shape[0] * batch, *shape[1:]), rng)
    return drawn


def _shape(spec: Mapping[str, Any]) -> tuple[int, ...]:
    shape = spec["shape"]
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise RecipeError(f"input {spec['name']!r}: {shape} is no shape of positive integers")
    return tuple(shape)


def _draw(
    spec: Mapping[str, Any], shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[Any]:
    content = spec.get("content")
    try:
        dtype = np.dtype(spec["dtype"])
    except TypeError:
        raise RecipeError(f"input {spec['name']!r}: unknown dtype {spec['dtype']!r}") from None
    if content == "image":
        # A normalised picture: zero mean, unit variance in every channel.
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if content == "tokens":
        if not isinstance(spec.get("below"), int):
            raise RecipeError(f"input {spec['name']!r}: tokens need 'below', the vocabulary's size")
        return rng.integers(0, spec["below"], size=shape).astype(dtype)
    if content == "ones":
        return np.ones(shape, dtype)
    known = ", ".join(CONTENTS)
    raise RecipeError(f"input {spec['name']!r}: unknown content {content!r}; known: {known}")
