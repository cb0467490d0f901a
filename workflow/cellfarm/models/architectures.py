"""Architectures by source and name, with untrained weights and without any download."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import torch
from protocol import RecipeError, shorten
from torch import Tensor, nn

# Arguments that would fetch trained weights: a recipe says where weights come from in `weights`.
_DOWNLOADS = ("weights", "weights_backbone", "pretrained", "progress")

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # a Library takes its operators along when it dies


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
    if source not in SOURCES:
        raise RecipeError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    arguments = dict(recipe.get("arguments") or {})
    model = SOURCES[source](name, arguments)
    inputs = [spec["name"] for spec in recipe["inputs"]]
    by_name = source == "transformers"
    if by_name:
        _check_names("input", inputs, inspect.signature(model.forward).parameters, name)
    return Network(model, inputs, list(recipe["outputs"]), by_name=by_name)


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not fit the installed torch.

    The index's torchvision is built against the CUDA torch; beside a CPU torch its library does
    not load, and its import then stumbles over two operators that no classifier uses. Declaring
    them is enough.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(operator)
        _libraries.append(library)
        import torchvision
    return torchvision


def _from_torchvision(name: str, arguments: dict[str, Any]) -> nn.Module:
    models = import_torchvision().models
    known = models.list_models()
    if name not in known:
        raise RecipeError(_unknown("torchvision architecture", name, known))
    for argument in _DOWNLOADS:
        if argument in arguments:
            raise RecipeError(f"argument {argument!r} belongs into the recipe's 'weights'")
    builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    if name in {"inception_v3", "googlenet"}:
        # Their own initialisation takes a minute with scipy; torch's default is as random.
        arguments.setdefault("init_weights", False)
    model: nn.Module = _construct(name, lambda: builder(weights=None, **arguments))
    return model


def _from_transformers(name: str, arguments: dict[str, Any]) -> nn.Module:
    import_torchvision()  # transformers imports it, and would stumble over the same operators
    import transformers

    cls = getattr(transformers, name, None) if name in dir(transformers) else None
    if not (inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)):
        names = [known for known in dir(transformers) if known.endswith("Model")]
        raise RecipeError(_unknown("transformers model class", name, names))
    # A configuration keeps any unknown argument as an attribute, so a misspelt one would go by.
    config_class = cls.config_class
    _check_names("argument", arguments, [*config_class().to_dict(), "attn_implementation"], name)

    def construct() -> nn.Module:
        model: nn.Module = cls(config_class(**arguments))
        return model

    return _construct(name, construct)


SOURCES: dict[str, Callable[[str, dict[str, Any]], nn.Module]] = {
    "torchvision": _from_torchvision,
    "transformers": _from_transformers,
}


def _construct(name: str, construct: Callable[[], nn.Module]) -> nn.Module:
    try:
        return construct()
    except Exception as error:
        # Whatever an architecture raises here is about its arguments.
        raise RecipeError(f"{name} does not take these arguments: {shorten(error)}") from error


def _check_names(kind: str, names: Iterable[str], known: Iterable[str], owner: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise RecipeError(_unknown(f"{kind} of {owner}", name, known))


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"; close: {', '.join(close)}" if close else ""
    return f"unknown {kind} {name!r}{hint}"
