"""Weights of translated layers in the form of Keras' layers: the inverse of keras_layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from protocol import RecipeError
from torch import Tensor, nn

#: (config, translation) -> tensors in the order of the layer's `get_weights`
Restorer = Callable[[dict[str, Any], nn.Module], list[Tensor]]


def restore(kind: str, config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    """The weights of a Keras layer from its translation, whose weights may have changed.

    Args:
        kind: the name of the layer's class.
        config: the layer's configuration.

    Returns:
        Tensors in the order of the layer's `get_weights`.

    Raises:
        RecipeError: the translation has weights that the layer lacks.
    """
    if kind in RESTORERS:
        return [tensor.detach() for tensor in RESTORERS[kind](config, translation)]
    if translation.state_dict():
        raise RecipeError(f"layer {config['name']!r}: no way back for the weights of Keras' {kind}")
    return []


def _parts(translation: nn.Module, kind: type[nn.Module]) -> list[Any]:
    """The operators of a kind; padding and an activation may surround them."""
    return [part for part in translation.modules() if isinstance(part, kind)]


def _biases(*layers: Any) -> list[Tensor]:
    return [layer.bias for layer in layers if layer.bias is not None]


def _kernel(layer: nn.Conv2d) -> Tensor:
    """[out, in of a group, rows, columns] -> [rows, columns, in of a group, out]."""
    return layer.weight.permute(2, 3, 1, 0)


def _depthwise_kernel(layer: nn.Conv2d) -> Tensor:
    """[channels * multiplier, 1, rows, columns] -> [rows, columns, channels, multiplier]."""
    return layer.weight.reshape(layer.groups, -1, *layer.kernel_size).permute(2, 3, 0, 1)


def _conv2d(_config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    (layer,) = _parts(translation, nn.Conv2d)
    return [_kernel(layer), *_biases(layer)]


def _depthwise(_config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    (layer,) = _parts(translation, nn.Conv2d)
    return [_depthwise_kernel(layer), *_biases(layer)]


def _separable(_config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    depthwise, pointwise = _parts(translation, nn.Conv2d)
    return [_depthwise_kernel(depthwise), _kernel(pointwise), *_biases(pointwise)]


def _dense(_config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    (layer,) = _parts(translation, nn.Linear)
    return [layer.weight.T, *_biases(layer)]


def _batch_norm(config: dict[str, Any], translation: nn.Module) -> list[Tensor]:
    (layer,) = _parts(translation, nn.BatchNorm2d)
    kept = []
    for has, tensor, neutral in (("scale", layer.weight, 1.0), ("center", layer.bias, 0.0)):
        if config[has]:
            kept.append(tensor)
        elif not torch.all(tensor == neutral):
            raise RecipeError(f"layer {config['name']!r} is without {has} and was given one")
    return [*kept, layer.running_mean, layer.running_var]


RESTORERS: dict[str, Restorer] = {
    "BatchNormalization": _batch_norm,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
}
