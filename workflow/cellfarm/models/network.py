"""The interface of the networks that all sources of architectures build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol import RecipeError
from torch import Tensor, nn


class Network(nn.Module):
    """An architecture behind one interface: tensors in recipe order in, named outputs out.

    Args:
        model: the architecture.
        recipe: names the inputs and the outputs; outputs are keys where the architecture returns a
            mapping, else names for its results in their order.
        by_name: pass the inputs as keyword arguments (transformers), not by position.
    """

    def __init__(
        self, model: nn.Module, recipe: Mapping[str, Any], *, by_name: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self._inputs = [spec["name"] for spec in recipe["inputs"]]
        self._outputs = list(recipe["outputs"])
        self._by_name = by_name

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The architecture's outputs, one tensor for each output name."""
        if self._by_name:
            result = self.model(**dict(zip(self._inputs, tensors, strict=True)))
        else:
            result = self.model(*tensors)
        return self._select(result)

    @property
    def trained(self) -> nn.Module:
        """The part that gets trained weights: its names are those of the file."""
        trained: nn.Module = getattr(self.model, "trained", self.model)
        return trained

    def _select(self, result: Any) -> tuple[Tensor, ...]:
        if isinstance(result, Mapping):
            missing = [name for name in self._outputs if name not in result]
            if missing:
                names = ", ".join(result)
                raise RecipeError(f"no output {missing[0]!r}; the architecture returns: {names}")
            return tuple(result[name] for name in self._outputs)
        results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if len(results) != len(self._outputs):
            raise RecipeError(
                f"{len(self._outputs)} output names, but the architecture returns {len(results)}"
            )
        return results
