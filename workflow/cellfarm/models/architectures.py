"""Architectures by source and name, with untrained weights and without any download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import source_keras
import source_timm
import source_torchvision
import source_transformers
from decoding import CachedDecoder
from protocol import RecipeError
from torch import Tensor, nn
from yolox import build as build_yolox


class Network(nn.Module):
    """An architecture behind one interface: tensors in recipe order in, named outputs out.

    Args:
        model: the architecture.
        inputs: the inputs' names.
        outputs: the outputs' names: keys where the architecture returns a mapping, else the names
            of its results in their order.
        by_name: pass the inputs as keyword arguments (transformers) and not by position.
    """

    def __init__(
        self, model: nn.Module, inputs: list[str], outputs: list[str], *, by_name: bool
    ) -> None:
        super().__init__()
        self.model = model
        self._inputs = inputs
        self._outputs = outputs
        self._by_name = by_name

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the architecture; one tensor for each output name."""
        if self._by_name:
            result = self.model(**dict(zip(self._inputs, tensors, strict=True)))
        else:
            result = self.model(*tensors)
        return self._select(result)

    @property
    def trained(self) -> nn.Module:
        """The part that a file of trained weights is for, as its names are."""
        return self.model.model if isinstance(self.model, CachedDecoder) else self.model

    def _select(self, result: Any) -> tuple[Tensor, ...]:
        if isinstance(result, Mapping):
            missing = [name for name in self._outputs if name not in result]
            if missing:
                have = ", ".join(result)
                raise RecipeError(f"no output {missing[0]!r}; the architecture returns: {have}")
            return tuple(result[name] for name in self._outputs)
        results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if len(results) != len(self._outputs):
            raise RecipeError(
                f"{len(self._outputs)} output names, but the architecture returns {len(results)}"
            )
        return results


def build_network(recipe: Mapping[str, Any]) -> Network:
    """Build the recipe's architecture with the source's own random initialisation.

    Raises:
        RecipeError: an unknown source or architecture, or an argument that it does not take.
    """
    source, name = recipe["source"], recipe["architecture"]
    arguments = dict(recipe.get("arguments") or {})
    inputs = [spec["name"] for spec in recipe["inputs"]]
    outputs = list(recipe["outputs"])
    if source == "torchvision":
        model = source_torchvision.build(name, arguments)
    elif source == "timm":
        model = source_timm.build(name, arguments)
    elif source == "transformers":
        model = source_transformers.build(name, arguments, recipe["inputs"], outputs)
    elif source == "keras":
        model = source_keras.build(name, arguments, recipe["inputs"][0]["shape"])
    elif source == "cellfarm":
        model = build_yolox(name, arguments)
    else:
        raise RecipeError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    return Network(model, inputs, outputs, by_name=source == "transformers")


def deploy(network: Network, source: str) -> None:
    """Give the network the form that is deployed, once its statistics are what they shall be."""
    if source == "timm":
        network.model = source_timm.deploy(network.model)


def write_original(network: Network, out: Path) -> None:
    """Write the network in its source's own format beside the program, if the source has one."""
    if isinstance(network.model, source_keras.Graph):
        network.model.write_original(out)


SOURCES = ("torchvision", "timm", "transformers", "keras", "cellfarm")
