"""Seeded model inputs. They need no data set: latency does not depend on the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import RecipeError

CONTENTS = ("image", "features", "tokens", "ones")

SAMPLES = 16  # of the calibration set, and of the held-out set
#: Independent streams of draws. 0 are the inputs of record.
OTHER_INPUTS = 1  # for which the output must differ
STATISTICS = 2  # the first of the batches for the statistics of random weights
CALIBRATION = 100  # the first of SAMPLES
HELD_OUT = 200  # the first of SAMPLES


def draw_inputs(
    specs: Sequence[Mapping[str, Any]], seed: int, *, stream: int = 0, batch: int = 1
) -> dict[str, NDArray[Any]]:
    """Draw one array for each input, in order.

    Args:
        specs: the recipe's inputs: ``name``, ``shape``, ``dtype``, ``content`` and, for tokens,
            ``below`` (the size of the vocabulary).
        seed: the recipe's seed.
        stream: 0 for the inputs of record; others are independent draws.
        batch: multiplies the first dimension.

    Raises:
        RecipeError: an unknown content or dtype, or an invalid shape.
    """
    drawn = {}
    for position, spec in enumerate(specs):
        rng = np.random.default_rng([seed, stream, position])
        shape = _shape(spec)
        drawn[spec["name"]] = _draw(spec, (shape[0] * batch, *shape[1:]), rng)
    return drawn


def draw_samples(
    specs: Sequence[Mapping[str, Any]], seed: int, first: int, count: int = SAMPLES
) -> dict[str, NDArray[Any]]:
    """Draw ``count`` samples from the streams from ``first`` on: [count, *shape] for each input."""
    samples = [draw_inputs(specs, seed, stream=first + number) for number in range(count)]
    return {spec["name"]: np.stack([sample[spec["name"]] for sample in samples]) for spec in specs}


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
    if content in ("image", "features"):
        # A normalised picture or sound: zero mean, unit variance. Noise, not textures: with random
        # weights and gates (squeeze and excitation), outputs of some textures are a hundred times as
        # large as those of others, and 8 bits would be lost on the largest.
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if content == "tokens":
        if not isinstance(spec.get("below"), int):
            raise RecipeError(f"input {spec['name']!r}: tokens need 'below', the vocabulary's size")
        return rng.integers(0, spec["below"], size=shape).astype(dtype)
    if content == "ones":
        return np.ones(shape, dtype)
    known = ", ".join(CONTENTS)
    raise RecipeError(f"input {spec['name']!r}: unknown content {content!r}; known: {known}")
