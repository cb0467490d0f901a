"""Loads all trained weights of an architecture from a file, or fails and names what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from protocol import RecipeError, shorten
from torch import Tensor, nn

FORMATS = ("safetensors", "pth")
#: The keys under which checkpoints hold their weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_NAMED = 3  # names that do not fit are listed up to this number


def load_weights(network: nn.Module, file: Path, recipe: Mapping[str, Any]) -> None:
    """Set every parameter and buffer of a network from a file.

    Args:
        network: the architecture.
        file: the weights; no code in it is run.
        recipe: the recipe's `weights`: `format`, and `key_prefix`, with which the names of this
            network's weights begin in the file; others are left out.

    Raises:
        RecipeError: the file cannot be read, or does not fit the architecture.
    """
    stored = read_weights(file, recipe["format"])
    prefix = recipe.get("key_prefix")
    if prefix:
        stored = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        if not stored:
            raise RecipeError(f"weights: no name in the file begins with {prefix!r}")
    expected = network.state_dict()
    # Counts of batches seen in training: older files lack them, and inference does not read them.
    missing = [k for k in expected if k not in stored and not k.endswith("num_batches_tracked")]
    unknown = [k for k in stored if k not in expected]
    misshapen = [
        f"{k} {list(stored[k].shape)}, not {list(expected[k].shape)}"
        for k in stored
        if k in expected and stored[k].shape != expected[k].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
        for names, what in (
            (missing, "are missing"),
            (unknown, "are unknown to the architecture"),
            (misshapen, "have another shape"),
        )
        if names
    ]
    if problems:
        raise RecipeError(f"weights do not fit the architecture: {'; '.join(problems)}")
    network.load_state_dict(stored, strict=False)  # strict but for the counts, as checked above


def read_weights(file: Path, form: str) -> dict[str, Tensor]:
    """The tensors of a file by name. No code in it is run.

    Raises:
        RecipeError: an unknown format, or a file of another format.
    """
    if form not in FORMATS:
        raise RecipeError(f"weights: unknown format {form!r}; known: {', '.join(FORMATS)}")
    try:
        if form == "safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # PyTorch's own message advises to run what is in the file.
        raise RecipeError(
            "weights: the file is damaged, or holds Python objects besides tensors, which are not run:"
            " save the model's state_dict()"
        ) from error
    except Exception as error:  # every reader has other errors
        raise RecipeError(
            f"weights: the file cannot be read as {form}: {shorten(error)}"
        ) from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise RecipeError("weights: the file holds no tensors by name")
    return tensors
