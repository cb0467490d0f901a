"""Architectures of transformers, from a configuration alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from decoding import CachedDecoder
from network import Network
from protocol import RecipeError
from refusing import check_name, construct, unknown
from torchvision_import import import_torchvision


def build(recipe: Mapping[str, Any]) -> Network:
    """A model that takes its inputs by name.

    Args:
        recipe: ``architecture`` is a class such as ``BertModel``, or a part of a class, such as
            ``WhisperModel.encoder``; ``arguments`` are those of the configuration class, and
            ``attn_implementation``; ``inputs`` are named as arguments of ``forward``, and for a
            decoder ``past_key_0``, ``past_value_0`` and so on: its cache; ``outputs`` are keys of
            its result, and for a decoder ``present_key_0`` and so on.

    Raises:
        RecipeError: an unknown class, part, argument or input.
    """
    architecture, arguments = recipe["architecture"], dict(recipe.get("arguments") or {})
    name, *path = architecture.split(".")
    import_torchvision()  # transformers imports it, and would fail on its missing operators
    import transformers

    cls = getattr(transformers, name, None) if name in dir(transformers) else None
    if not (inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)):
        classes = [known for known in dir(transformers) if known.endswith("Model")]
        raise RecipeError(unknown("transformers model class", name, classes))
    # A configuration accepts unknown arguments, so a misspelt argument must be refused here.
    config_class = cls.config_class
    known = [*config_class().to_dict(), "attn_implementation"]
    for argument in arguments:
        check_name(f"argument of {name}", argument, known)
    model = construct(name, lambda: cls(config_class(**arguments)))
    for part in path:
        parts = dict(model.named_children())
        check_name(f"part of {name}", part, parts)
        model = parts[part]
    if any(output.startswith("present_key_") for output in recipe["outputs"]):
        return Network(CachedDecoder(model, recipe["inputs"]), recipe, by_name=True)
    parameters = inspect.signature(model.forward).parameters
    for spec in recipe["inputs"]:
        check_name(f"input of {architecture}", spec["name"], parameters)
    return Network(model, recipe, by_name=True)
