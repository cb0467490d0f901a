"""Architectures of Keras Applications, translated layer by layer into PyTorch modules.

Keras' PyTorch back end would wrap each operator of its channels-last networks in transposes, and
permute each weight in every run: nobody ships that. The translation is the same function of a
picture with its channels first. It gets the weights, and every output is compared with its outputs;
the network of Keras gets the same weights back, for a library whose converter reads it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from keras_layers import TRANSLATORS
from keras_weights import restore
from network import Network
from protocol import RecipeError
from refusing import arguments_of, check_name, construct
from torch import Tensor, nn


class Graph(nn.Module):
    """Layers that are called in order, each with the outputs of earlier ones.

    Args:
        layers: (name, module, names of the layers whose outputs it takes), in an order in which
            they can run.
        entry: the name of the input.
        exits: the names of the layers whose outputs are the network's.
        original: the Keras model that was translated.
    """

    def __init__(
        self,
        layers: list[tuple[str, nn.Module, list[str]]],
        entry: str,
        exits: list[str],
        original: Any,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(module for _, module, _ in layers)
        self._steps = [(name, inbound) for name, _, inbound in layers]
        self._entry, self._exits = entry, exits
        # In a tuple: with this back end it is a module too, and its parameters would count here.
        self._original = (original,)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs for images [N, channels, height, width]."""
        outputs = {self._entry: images}
        for (name, inbound), layer in zip(self._steps, self.layers, strict=True):
            outputs[name] = layer(*(outputs[source] for source in inbound))
        return tuple(outputs[name] for name in self._exits)

    def write_original(self, out: Path) -> None:
        """Write ``model.keras`` into the folder `out`: Keras' network with these weights.

        Its pictures have their channels last.

        Raises:
            RecipeError: Keras' network lacks a weight.
        """
        (original,) = self._original
        for (name, _), module in zip(self._steps, self.layers, strict=True):
            layer = original.get_layer(name)
            weights = restore(type(layer).__name__, layer.get_config(), module)
            layer.set_weights([weight.numpy() for weight in weights])
        original.save(out / "model.keras")


def build(recipe: Mapping[str, Any]) -> Network:
    """A function of ``keras.applications``, such as ``NASNetMobile``, which gives logits.

    Args:
        recipe: ``arguments`` are the function's; by default, classifiers end without a softmax. The
            input has its channels first: [N, channels, height, width].

    Raises:
        RecipeError: there is no such function, it does not take an argument, or a layer has no
            translation here.
    """
    name, shape = recipe["architecture"], recipe["inputs"][0]["shape"]
    keras = _import_keras()
    applications = keras.applications
    known = [key for key in dir(applications) if inspect.isfunction(getattr(applications, key))]
    check_name("Keras application", name, known)
    arguments = arguments_of(recipe)
    if len(shape) != 4:
        raise RecipeError(f"{name} takes pictures [N, channels, height, width], not {shape}")
    _, channels, height, width = shape
    settings = {"classifier_activation": None, "input_shape": (height, width, channels)} | arguments
    keras.utils.set_random_seed(torch.initial_seed() % 2**32)
    network = construct(name, lambda: translate(_construct(keras, name, settings)))
    return Network(network, recipe)


def write_original(network: Network, out: Path) -> None:
    """Write Keras' network beside the program (see Graph.write_original)."""
    assert isinstance(network.model, Graph)
    network.model.write_original(out)


def _import_keras() -> ModuleType:
    os.environ["KERAS_BACKEND"] = "torch"  # Keras only makes weights: no second framework is needed
    import keras

    return keras


def _construct(keras: ModuleType, name: str, settings: dict[str, Any]) -> Any:
    builder: Callable[..., Any] = getattr(keras.applications, name)
    module = inspect.getmodule(inspect.unwrap(builder))
    if module is None or not hasattr(module, "NASNet"):
        return builder(weights=None, **settings)
    # NASNet refuses the PyTorch back end, on which it would not run, but it is not run here.
    backend = module.backend
    module.backend = _RenamedBackend(backend)
    try:
        return builder(weights=None, **settings)
    finally:
        module.backend = backend


class _RenamedBackend:
    """Keras' back end under another name."""

    def __init__(self, backend: ModuleType) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    @staticmethod
    def backend() -> str:
        return "symbolic"


def translate(model: Any) -> Graph:
    """A functional Keras model as a PyTorch module, with its weights.

    Raises:
        RecipeError: a layer has no translation here.
    """
    description = model.get_config()
    layers = []
    entry = ""
    for layer in description["layers"]:
        kind, name = layer["class_name"], layer["name"]
        if kind == "InputLayer":
            entry = name
            continue
        if kind not in TRANSLATORS:
            raise RecipeError(f"layer {name!r}: no translation of Keras' {kind}")
        if len(layer["inbound_nodes"]) != 1:
            raise RecipeError(f"layer {name!r} is used more than once")
        keras_layer = model.get_layer(name)
        weights = [torch.tensor(weight) for weight in keras_layer.get_weights()]
        inbound = _sources(layer["inbound_nodes"][0]["args"])
        tensors = keras_layer.input
        shapes = [
            tuple(tensor.shape[1:])
            for tensor in (tensors if isinstance(tensors, (list, tuple)) else [tensors])
        ]
        layers.append((name, TRANSLATORS[kind](layer["config"], weights, shapes), inbound))
    outputs = description["output_layers"]
    exits = [outputs[0]] if isinstance(outputs[0], str) else [output[0] for output in outputs]
    return Graph(layers, entry, exits, model)


def _sources(arguments: Any) -> list[str]:
    """The names of the layers whose outputs are a node's arguments."""
    if isinstance(arguments, dict):
        if arguments.get("class_name") == "__keras_tensor__":
            return [arguments["config"]["keras_history"][0]]
        return []
    if isinstance(arguments, (list, tuple)):
        return [name for argument in arguments for name in _sources(argument)]
    return []
