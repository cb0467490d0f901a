"""The writer of ncnn's 8-bit form: its bytes, scales and rounding. ncnn itself is not needed."""

from __future__ import annotations

import importlib
import struct
import sys
import types
from typing import Any

import numpy as np
import pytest
from cellfarm import libraries

FOLDER = libraries.all_libraries()["ncnn"].folder / "conversion"
TAG = struct.pack("<I", 0x000D4B38)


def conversion_module(name: str) -> Any:
    """A module of ncnn's `conversion`. Only in the converter is that a package with a name of its own."""
    package = types.ModuleType("ncnn_conversion")
    package.__path__ = [str(FOLDER)]
    sys.modules.setdefault("ncnn_conversion", package)
    return importlib.import_module(f"ncnn_conversion.{name}")


graph = conversion_module("graph")
quantisation = conversion_module("quantisation")
calibration = conversion_module("calibration")


def make_layer(kind: str, bottoms: str, tops: str, data: bytes = b"", **params: str) -> Any:
    numbered = {int(key[1:]): value for key, value in params.items()}
    return graph.Layer(kind, kind.lower(), bottoms.split(), tops.split(), numbered, data)


def full_precision(values: Any) -> bytes:
    """Weights in full precision, after their tag."""
    return bytes(4) + np.asarray(values, "<f4").tobytes()


def floats(data: bytes) -> list[float]:
    return np.frombuffer(data, "<f4").tolist()


def make_convolution(weights: Any, bottoms: str = "a", tops: str = "b", **params: str) -> Any:
    weights = np.asarray(weights, np.float32)
    shape = {"_0": str(len(weights)), "_1": "1", "_6": str(weights.size)}
    return make_layer("Convolution", bottoms, tops, full_precision(weights), **shape, **params)


def test_halves_are_rounded_away_from_zero_and_clipped_symmetrically():
    weights = np.array([[0.5, -0.5, 1.5, -2.5, 0.49999997, 300, -300]], np.float32)
    rounded = quantisation.to_int8(weights, np.ones(1, np.float32))
    assert rounded.tolist() == [[1, -1, 2, -3, 0, 127, -127]]


def test_a_row_of_zeros_has_a_scale():
    scales = quantisation.row_scales(np.array([[0, 0], [-2, 1]], np.float32))
    assert scales.tolist() == [1, 63.5]


def test_weights_are_padded_and_scales_follow_the_bias():
    layer = make_convolution([[1, -2, 4], [0.5, 0.25, -1]], _5="1")
    layer.data += np.array([10, 20], "<f4").tobytes()
    quantisation.quantise(layer, 3.5)
    assert layer.params[8] == "2"
    assert layer.data[:4] == TAG
    assert np.frombuffer(layer.data[4:10], np.int8).tolist() == [32, -64, 127, 64, 32, -127]
    assert layer.data[10:12] == bytes(2)  # padding to a multiple of four
    assert floats(layer.data[12:]) == [10, 20, 31.75, 127, 3.5]


def test_a_gemm_is_written_transposed_with_one_scale():
    shape = {"_5": "1", "_6": "1", "_8": "2", "_9": "3", "_10": "4"}
    bias = full_precision([7, 8])
    layer = make_layer("Gemm", "a", "b", full_precision([[1, 2], [3, 4], [5, 127]]) + bias, **shape)
    quantisation.quantise(layer, None)
    assert (layer.params[3], layer.params[18]) == ("1", "2")
    assert np.frombuffer(layer.data[4:10], np.int8).tolist() == [1, 3, 5, 2, 4, 127]
    assert layer.data[12:] == bias + struct.pack("<f", 1)


def test_attention_has_scales_by_row_and_one_for_its_output():
    identity = np.eye(2, dtype=np.float32)
    parts = [(identity * factor, [factor, factor]) for factor in (1, 2, 4, 8)]
    data = b"".join(
        full_precision(weights) + np.asarray(bias, "<f4").tobytes() for weights, bias in parts
    )
    layer = make_layer("MultiHeadAttention", "a", "b", data, _0="2", _1="1", _2="4")
    quantisation.quantise(layer, None)
    assert len(layer.data) == 4 * (4 + 4 + 8) + 7 * 4
    assert floats(layer.data[-28:]) == [127, 127, 63.5, 63.5, 31.75, 31.75, 15.875]


def test_what_is_left_over_or_not_in_full_precision_is_an_error():
    layer = make_convolution([[1, 2]])
    layer.data += bytes(4)
    with pytest.raises(ValueError, match="4 bytes of weights are left"):
        quantisation.quantise(layer, 1.0)
    layer = make_convolution([[1, 2]])
    layer.data = struct.pack("<I", 0x01306B47) + layer.data[4:]
    with pytest.raises(ValueError, match="not in full precision"):
        quantisation.quantise(layer, 1.0)


def test_sums_of_winograd_convolutions_cannot_overflow():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 9 * 1024)).astype(np.float32)
    weights[0] = 1  # the worst case: all weights are as large as the largest
    weights[1, 20:] = 0  # too few weights to overflow
    scales = quantisation.winograd_scales(weights)
    sums = np.abs(quantisation.to_int8(weights, scales).astype(np.int64)).sum(axis=1)
    assert (576 * 127 * sums < 2**31).all()
    assert scales[1] == quantisation.row_scales(weights)[1]
    assert (sums[2:] > 0.95 * quantisation.WINOGRAD_SUM).all(), "as fine as is safe"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, True),
        ({"_3": "2"}, False),
        ({"_13": "2"}, False),
        ({"_2": "2"}, False),
        ({"_11": "1"}, False),
    ],
)
def test_winograd_is_for_three_by_three_only(params, expected):
    layer = make_layer("Convolution", "a", "b", _0="1", **({"_1": "3"} | params))
    assert quantisation._by_winograd(layer) is expected


def test_what_a_version_does_not_run_stays_in_full_precision():
    gemm = make_layer("Gemm", "a", "b", _5="1")
    assert not quantisation.quantisable(gemm, 20240820)
    assert quantisation.quantisable(gemm, 20241226)
    assert quantisation.quantisable(make_convolution([[1]]), 20240102)
    assert not quantisation.quantisable(make_convolution([[1]], _19="1"), 20261020), (
        "computed weights"
    )
    assert not quantisation.quantisable(make_layer("ConvolutionDepthWise", "a", "b"), 20261020)


def test_only_what_8_bit_convolutions_alone_read_is_handed_on_in_8_bit():
    layers = [
        make_convolution([[1]], "in", "a"),
        make_convolution([[1]], "a", "b"),
        make_layer("Split", "b", "b1 b2"),
        make_convolution([[1]], "b1", "c"),
        make_convolution([[1]], "b2", "d"),
        make_layer("Split", "c", "c1 c2"),
        make_convolution([[1]], "c1", "e"),
        make_layer("BinaryOp", "c2 e d", "f"),
        make_convolution([[1]], "f", "g"),
        make_layer("Split", "g", "g1 out0"),
        make_convolution([[1]], "g1", "out1"),
    ]
    scales = {"in": 1.0, "a": 2.0, "b1": 3.0, "b2": 3.0, "c1": 4.0, "f": 5.0, "g1": 6.0}
    for layer in layers:
        if layer.kind == "Convolution":
            quantisation.quantise(layer, scales[layer.bottoms[0]])
    quantisation.fuse_requantisation(layers, scales)
    terms = [layer.params[8] for layer in layers if layer.kind == "Convolution"]
    assert terms == ["102", "102", "2", "2", "2", "2", "2"], "an output stays a float"
    assert floats(layers[0].data)[-2:] == [1, 2], "its input's scale, then its output's"
    assert floats(layers[1].data)[-2:] == [2, 3]


def test_thresholds_clip_what_is_rare_and_nothing_else():
    uniform = np.full(calibration.BINS, 10)
    assert calibration.scale_of(uniform, 2.0) == pytest.approx(127 / 2.0, rel=0.02)
    with_outlier = np.zeros(calibration.BINS, np.int64)
    with_outlier[: calibration.BINS // 4], with_outlier[-1] = 10_000, 1
    assert 127 / calibration.scale_of(with_outlier, 4.0) == pytest.approx(1.0, rel=0.2)
    assert calibration.scale_of(np.zeros(8, np.int64), 0.0) == 1.0


def test_a_file_is_written_as_it_was_read(tmp_path):
    text = "Convolution conv_1 1 2 in a b 0=8 -23310=2,0.0,6.0 1=3"
    layer = graph._parse(text)
    assert (layer.bottoms, layer.tops) == (["in"], ["a", "b"])
    assert layer.params == {0: "8", -23310: "2,0.0,6.0", 1: "3"}
    layer.data = b"1234"
    graph.write([layer], tmp_path)
    magic, counts, line = (tmp_path / graph.PARAM).read_text().splitlines()
    assert (magic, counts, line.split()) == ("7767517", "1 2", text.split())
    assert (tmp_path / graph.WEIGHTS).read_bytes() == b"1234"
