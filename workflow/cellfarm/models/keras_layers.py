"""Keras' layers as PyTorch modules: channels last becomes channels first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from protocol import RecipeError
from torch import Tensor, nn

Shape = tuple[int, ...]
#: (config, weights, shapes of the inputs without the batch, channels last) -> module
Translator = Callable[[dict[str, Any], list[Tensor], list[Shape]], nn.Module]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "softmax": lambda: nn.Softmax(dim=-1),
}


class Pad(nn.Module):
    """Padding, or cropping where negative: (left, right, top, bottom)."""

    def __init__(self, edges: Shape) -> None:
        super().__init__()
        self.edges = edges

    def forward(self, features: Tensor) -> Tensor:
        return functional.pad(features, self.edges)


class Crop(nn.Module):
    """Removal of (top, bottom), (left, right)."""

    def __init__(self, rows: Shape, columns: Shape) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        return features[
            :, :, self.rows[0] : height - self.rows[1], self.columns[0] : width - self.columns[1]
        ]


class Add(nn.Module):
    """The sum of the inputs."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        return sum(others, start=first)


class Concatenate(nn.Module):
    """The inputs' channels after each other."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.cat(features, dim=1)


class GlobalMean(nn.Module):
    """The mean over all positions: [N, C], or [N, C, 1, 1]."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, features: Tensor) -> Tensor:
        mean = functional.adaptive_avg_pool2d(features, 1)
        return mean if self.keep else mean.flatten(1)


def _activation(config: dict[str, Any]) -> nn.Module:
    name = config.get("activation", "linear")
    if name not in _ACTIVATIONS:
        raise RecipeError(f"layer {config['name']!r}: no translation of the activation {name}")
    return _ACTIVATIONS[name]()


def _chain(*modules: nn.Module) -> nn.Module:
    kept = [module for module in modules if not isinstance(module, nn.Identity)]
    if len(kept) == 1:
        return kept[0]
    return nn.Sequential(*kept) if kept else nn.Identity()


def _same_edges(config: dict[str, Any], kernel: Shape, shape: Shape) -> Shape:
    """What padding "same" adds: (left, right, top, bottom), the odd pixel at the end."""
    if config["padding"] == "valid":
        return (0, 0, 0, 0)
    edges: list[int] = []
    for axis in (1, 0):
        stride, size = config["strides"][axis], shape[axis]
        dilation = config.get("dilation_rate", (1, 1))[axis]
        reach = (kernel[axis] - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        edges += [total // 2, total - total // 2]
    return tuple(edges)


def _padding(config: dict[str, Any], kernel: Shape, shape: Shape) -> tuple[nn.Module, Shape]:
    """A layer that pads, or an identity, and the operator's own padding (rows, columns)."""
    left, right, top, bottom = _same_edges(config, kernel, shape)
    if (left, top) == (right, bottom):
        return nn.Identity(), (top, left)
    return Pad((left, right, top, bottom)), (0, 0)


def _convolution(
    config: dict[str, Any], kernel: Tensor, bias: Tensor | None, groups: int, padding: Shape
) -> nn.Conv2d:
    """A convolution; `kernel` is PyTorch's: [out, in of a group, rows, columns]."""
    layer = nn.Conv2d(
        kernel.shape[1] * groups,
        kernel.shape[0],
        tuple(kernel.shape[2:]),
        tuple(config["strides"]),
        padding,
        tuple(config["dilation_rate"]),
        groups,
        bias is not None,
    )
    layer.weight.data.copy_(kernel)
    if bias is not None and layer.bias is not None:
        layer.bias.data.copy_(bias)
    return layer


def _conv2d(config: dict[str, Any], weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    pad, padding = _padding(config, config["kernel_size"], shapes[0])
    bias = weights[1] if config["use_bias"] else None
    kernel = weights[0].permute(3, 2, 0, 1)
    layer = _convolution(config, kernel, bias, config.get("groups", 1), padding)
    return _chain(pad, layer, _activation(config))


def _depthwise_kernel(kernel: Tensor) -> Tensor:
    rows, columns, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)


def _depthwise(config: dict[str, Any], weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    pad, padding = _padding(config, config["kernel_size"], shapes[0])
    bias = weights[1] if config["use_bias"] else None
    kernel = _depthwise_kernel(weights[0])
    layer = _convolution(config, kernel, bias, weights[0].shape[2], padding)
    return _chain(pad, layer, _activation(config))


def _separable(config: dict[str, Any], weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    pad, padding = _padding(config, config["kernel_size"], shapes[0])
    depthwise = _convolution(
        config, _depthwise_kernel(weights[0]), None, weights[0].shape[2], padding
    )
    single = config | {"strides": (1, 1), "dilation_rate": (1, 1)}
    bias = weights[2] if config["use_bias"] else None
    pointwise = _convolution(single, weights[1].permute(3, 2, 0, 1), bias, 1, (0, 0))
    return _chain(pad, depthwise, pointwise, _activation(config))


def _batch_norm(config: dict[str, Any], weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    remaining = iter(weights)
    gamma = next(remaining) if config["scale"] else torch.ones(shapes[0][-1])
    beta = next(remaining) if config["center"] else torch.zeros(shapes[0][-1])
    layer = nn.BatchNorm2d(shapes[0][-1], config["epsilon"], 1 - config["momentum"])
    layer.weight.data.copy_(gamma)
    layer.bias.data.copy_(beta)
    layer.running_mean, layer.running_var = next(remaining), next(remaining)
    return layer


def _dense(config: dict[str, Any], weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    if len(shapes[0]) != 1:
        raise RecipeError(f"layer {config['name']!r}: Dense on maps has no translation")
    layer = nn.Linear(weights[0].shape[0], weights[0].shape[1], config["use_bias"])
    layer.weight.data.copy_(weights[0].T)
    if config["use_bias"]:
        layer.bias.data.copy_(weights[1])
    return _chain(layer, _activation(config))


def _max_pool(config: dict[str, Any], _weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    # Padding with minus infinity would do, but 8 bits do not have it, and XNNPACK refuses the
    # artifact. The odd pixel of "same" is at the end. Rounding up puts a window there; with stride 1,
    # a surplus window at the start, which is cropped, does.
    left, right, top, bottom = _same_edges(config, config["pool_size"], shapes[0])
    edges, strides = ((top, bottom), (left, right)), tuple(config["strides"])
    surplus = [
        end - start if stride == 1 else 0
        for (start, end), stride in zip(edges, strides, strict=True)
    ]
    pool = nn.MaxPool2d(
        tuple(config["pool_size"]),
        strides,
        tuple(start + more for (start, _), more in zip(edges, surplus, strict=True)),
        ceil_mode=any(start != end for start, end in edges),
    )
    crop = Crop((surplus[0], 0), (surplus[1], 0)) if any(surplus) else nn.Identity()
    return _chain(pool, crop)


def _average_pool(config: dict[str, Any], _weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    pad, padding = _padding(config, config["pool_size"], shapes[0])
    if not isinstance(pad, nn.Identity):
        raise RecipeError(
            f"layer {config['name']!r}: a mean that leaves out an uneven edge has no translation"
        )
    return nn.AvgPool2d(
        tuple(config["pool_size"]), tuple(config["strides"]), padding, count_include_pad=False
    )


def _zero_padding(config: dict[str, Any], _weights: list[Tensor], _: list[Shape]) -> nn.Module:
    rows, columns = config["padding"]
    return Pad((*columns, *rows))


def _cropping(config: dict[str, Any], _weights: list[Tensor], _: list[Shape]) -> nn.Module:
    return Crop(*(tuple(edge) for edge in config["cropping"]))


def _relu(config: dict[str, Any], _weights: list[Tensor], _: list[Shape]) -> nn.Module:
    if config.get("negative_slope") or config.get("threshold"):
        raise RecipeError(f"layer {config['name']!r}: a leaky ReLU has no translation")
    if config.get("max_value") == 6:
        return nn.ReLU6()
    return nn.ReLU() if config.get("max_value") is None else nn.Hardtanh(0, config["max_value"])


def _concatenate(config: dict[str, Any], _weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    if config["axis"] not in (-1, len(shapes[0])):
        raise RecipeError(f"layer {config['name']!r}: only channels are concatenated")
    return Concatenate()


def _reshape(config: dict[str, Any], _weights: list[Tensor], shapes: list[Shape]) -> nn.Module:
    if shapes[0][:-1] != (1, 1) or len(config["target_shape"]) != 1:
        # Other reshapes mix positions and channels in Keras' order.
        raise RecipeError(f"layer {config['name']!r}: no translation of a reshape of {shapes[0]}")
    return nn.Flatten()


TRANSLATORS: dict[str, Translator] = {
    "Activation": lambda config, weights, shapes: _activation(config),
    "Add": lambda config, weights, shapes: Add(),
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv2d,
    "Cropping2D": _cropping,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Dropout": lambda config, weights, shapes: nn.Identity(),
    "GlobalAveragePooling2D": lambda config, weights, shapes: GlobalMean(config["keepdims"]),
    "MaxPooling2D": _max_pool,
    "ReLU": _relu,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "ZeroPadding2D": _zero_padding,
}
