"""Layers in ncnn's 8-bit form: weights as int8, and the scales of weights and inputs.

None of ncnn's packages has its programs for this, ncnn2table and ncnn2int8. The format is theirs:
symmetric, -127 to 127, with a scale for every output channel of a convolution or an inner product. The
file has no scales for the inputs of Gemm and MultiHeadAttention: ncnn quantises them at run time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .graph import Layer

LEVELS = 127  # ncnn's int8 runs from -127 to 127
#: ncnn runs 3 x 3 convolutions by Winograd's F(4, 3), which sums 576 times the result in 32 bits. If the
#: magnitudes of a channel's weights sum to at most this, no input up to 127 can overflow it.
WINOGRAD_SUM = (2**31 - 1) // (576 * LEVELS)
#: The first version of ncnn that reads the 8-bit form; every supported version reads that of other layers.
SINCE = {"Gemm": 20241226, "MultiHeadAttention": 20241226, "Embed": 20241226}
_FULL = 0  # the tag of weights in full precision
_INT8 = 0x000D4B38
_REQUANTISED = 100

Array = NDArray[np.float32]


class Cursor:
    """Reads a layer's weights in the order in which ncnn loads them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def plain(self, count: int) -> bytes:
        """The bytes of numbers without a tag."""
        begin = self._position
        self._position += 4 * count
        return self._data[begin : self._position]

    def tagged(self, count: int) -> Array:
        """Weights after their tag.

        Raises:
            ValueError: they are not in full precision.
        """
        (tag,) = struct.unpack("<I", self.plain(1))
        if tag != _FULL:
            raise ValueError(f"weights with the tag {tag:#x} are not in full precision")
        return np.frombuffer(self.plain(count), "<f4").astype(np.float32)

    def rest(self) -> bytes:
        """The bytes that are left."""
        return self.plain(self.left // 4)

    @property
    def left(self) -> int:
        """The number of bytes that are left."""
        return len(self._data) - self._position


def needs_scale(layer: Layer) -> bool:
    """Whether the layer's 8-bit form quantises its input with a scale from the calibration.

    The 8-bit form of depthwise convolutions is not used: with so few products in a sum the error is larger
    (MobileNetV2: cosine 0.974 instead of 0.978), they hold a percent of the weights, and on most
    processors ncnn runs them slower than in full precision.
    """
    if layer.kind == "Convolution":
        return not layer.integer(19)  # computed weights
    return layer.kind == "InnerProduct"


def quantisable(layer: Layer, version: int) -> bool:
    """Whether ncnn has an 8-bit form of this layer, with weights in the file.

    Args:
        version: ncnn's, which is a date: 20241226.
    """
    if version < SINCE.get(layer.kind, 0):
        return False
    if layer.kind == "Gemm":
        return bool(layer.integer(5)) and not layer.integer(4)
    return needs_scale(layer) or layer.kind in SINCE


def quantise(layer: Layer, input_scale: float | None) -> None:
    """Turn a layer into its 8-bit form, with `input_scale` if it `needs_scale`.

    Raises:
        ValueError: its weights do not have the layout of its parameters.
    """
    cursor = Cursor(layer.data)
    if needs_scale(layer):
        assert input_scale is not None
        layer.data = _with_input_scale(layer, cursor, input_scale)
    else:
        layer.data = _WRITERS[layer.kind](layer, cursor)
    if cursor.left:
        raise ValueError(f"{layer.kind} {layer.name}: {cursor.left} bytes of weights are left")


def fuse_requantisation(layers: Sequence[Layer], scales: dict[str, float]) -> None:
    """Let a convolution write its output in 8 bits if only 8-bit convolutions read it.

    The result is the same; the readers need not quantise it.

    Args:
        layers: after `quantise`.
        scales: of the blobs that quantised layers read.
    """
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for blob in layer.bottoms:
            readers.setdefault(blob, []).append(layer)

    def reading(blob: str) -> list[Layer]:
        """The readers of a blob; none if it, or a top of its Split, is an output of the model."""
        direct = readers.get(blob, [])
        if blob.startswith("out"):
            return []
        if len(direct) != 1 or direct[0].kind != "Split":
            return direct
        branches = [reading(top) for top in direct[0].tops]
        return [reader for branch in branches for reader in branch] if all(branches) else []

    for layer in layers:
        if layer.kind != "Convolution" or not layer.integer(8):
            continue
        following = reading(layer.tops[0])
        if following and all(
            reader.kind == "Convolution" and reader.integer(8) for reader in following
        ):
            layer.params[8] = str(layer.integer(8) + _REQUANTISED)
            layer.data += _plain([scales[following[0].bottoms[0]]])


def to_int8(weights: Array, scales: Array) -> NDArray[np.int8]:
    """Rows of weights times their scales, rounded as ncnn does: halves away from zero."""
    scaled = (weights * scales[:, None]).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return np.clip(rounded, -LEVELS, LEVELS).astype(np.int8)


def row_scales(weights: Array) -> Array:
    """The scale of each row: 127 over its largest magnitude; 1 for a row of zeros."""
    largest = np.abs(weights).max(axis=1)
    scales = np.ones_like(largest)
    np.divide(np.float32(LEVELS), largest, out=scales, where=largest > 0)
    return scales


def winograd_scales(weights: Array) -> Array:
    """`row_scales`, reduced for rows whose sums could overflow."""
    scales = row_scales(weights)
    while True:
        sums = np.abs(to_int8(weights, scales).astype(np.int64)).sum(axis=1)
        if (sums <= WINOGRAD_SUM).all():
            return scales
        factors = np.minimum(0.999 * WINOGRAD_SUM / np.maximum(sums, 1), 1)
        scales = np.where(sums > WINOGRAD_SUM, scales * factors, scales).astype(np.float32)


def _with_input_scale(layer: Layer, cursor: Cursor, input_scale: float) -> bytes:
    inner = layer.kind == "InnerProduct"
    outputs, bias = layer.integer(0), layer.integer(1 if inner else 5)
    weights = cursor.tagged(layer.integer(2 if inner else 6)).reshape(outputs, -1)
    scales = winograd_scales(weights) if _by_winograd(layer) else row_scales(weights)
    layer.params[8] = "2"
    return (
        _tagged(to_int8(weights, scales))
        + cursor.plain(outputs if bias else 0)
        + _plain(scales)
        + _plain([input_scale])
    )


def _by_winograd(layer: Layer) -> bool:
    """Whether it is a 3 x 3 convolution with a stride and a dilation of 1."""
    horizontal = [layer.integer(1), layer.integer(3, 1), layer.integer(2, 1)]
    vertical = [
        layer.integer(n + 10, value) for n, value in zip((1, 3, 2), horizontal, strict=True)
    ]
    return layer.kind == "Convolution" and horizontal == vertical == [3, 1, 1]


def _gemm(layer: Layer, cursor: Cursor) -> bytes:
    outputs, inputs = layer.integer(8), layer.integer(9)
    weights = cursor.tagged(inputs * outputs)
    if not layer.integer(3):  # the 8-bit form stands transposed
        weights = np.ascontiguousarray(weights.reshape(inputs, outputs).T)
        layer.params[3] = "1"
    weights = weights.reshape(1, -1)  # Gemm has one scale for all outputs
    scale = row_scales(weights)
    layer.params[18] = "2"
    return _tagged(to_int8(weights, scale)) + cursor.rest() + _plain(scale)


def _attention(layer: Layer, cursor: Cursor) -> bytes:
    size = layer.integer(0)
    query = layer.integer(2) // size
    written = appended = b""
    for width in (query, layer.integer(3, size), layer.integer(4, size)):
        weights = cursor.tagged(size * width).reshape(size, width)
        scales = row_scales(weights)
        written += _tagged(to_int8(weights, scales)) + cursor.plain(size)
        appended += _plain(scales)
    weights = cursor.tagged(query * size).reshape(1, -1)  # the output: one scale for all
    scales = row_scales(weights)
    written += _tagged(to_int8(weights, scales)) + cursor.plain(query)
    layer.params[18] = "2"
    return written + appended + _plain(scales)


def _embed(layer: Layer, cursor: Cursor) -> bytes:
    weights = cursor.tagged(layer.integer(3)).reshape(1, -1)
    scale = row_scales(weights)
    layer.params[18] = "2"
    return _tagged(to_int8(weights, scale)) + cursor.rest() + _plain(scale)


_WRITERS: dict[str, Callable[[Layer, Cursor], bytes]] = {
    "Gemm": _gemm,
    "MultiHeadAttention": _attention,
    "Embed": _embed,
}


def _tagged(weights: NDArray[np.int8]) -> bytes:
    data = weights.tobytes()
    return struct.pack("<I", _INT8) + data + bytes(-len(data) % 4)


def _plain(values: Array | Sequence[float]) -> bytes:
    return np.asarray(values, "<f4").tobytes()
