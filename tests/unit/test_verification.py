"""Outputs are compared with the reference, and nothing that a device sends can break the reader."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from typing import Any

import numpy as np
import pytest
from cellfarm.measures.quality.comparison import Comparison
from cellfarm.measures.quality.verification import MAX_OUTPUT_BYTES, compare, read_arrays
from cellfarm.measures.tolerances import Tolerance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace

TOLERANCE = Tolerance(min_cosine=0.999, max_relative_error=0.01, top1=True)
REFERENCE = {"logits": np.array([[0.5, 2.0, -1.0, 0.0]], dtype=np.float32)}


def compare_logits(*values: float, classes: bool = True) -> Comparison:
    return compare({"logits": np.array([values], dtype=np.float32)}, REFERENCE, classes)


def npz(**named_arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **named_arrays)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def npy_header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def test_the_same_output_is_perfect():
    comparison = compare(REFERENCE, REFERENCE, classes=True)
    assert comparison == Comparison(1.0, 0.0, 0.0, True)
    assert comparison.violation(TOLERANCE) is None


def test_a_rounding_error_passes():
    assert compare_logits(0.5001, 2.0001, -1.0, 0.0001).violation(TOLERANCE) is None


def test_a_scaled_output_points_the_same_way_but_is_wrong():
    comparison = compare_logits(1.0, 4.0, -2.0, 0.0)
    assert comparison.cosine == pytest.approx(1.0)
    assert comparison.max_relative_error == pytest.approx(1.0)
    assert "largest error 1 of the reference's magnitude" in str(comparison.violation(TOLERANCE))


def test_another_direction_is_wrong():
    assert "cosine -1.00000 is below" in str(
        compare_logits(-0.5, -2.0, 1.0, -0.0).violation(TOLERANCE)
    )


def test_another_class_is_wrong_however_close_and_only_where_there_are_classes():
    reference = {"logits": np.array([[1.0, 1.001, 0.0]])}
    output = {"logits": np.array([[1.001, 1.0, 0.0]])}
    comparison = compare(output, reference, classes=True)
    assert comparison.top1_match is False
    assert comparison.violation(TOLERANCE) == "the top-1 class differs from the reference's"
    assert comparison.violation(replace(TOLERANCE, top1=False)) is None
    assert compare(output, reference, classes=False).violation(TOLERANCE) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_wrong(value: float):
    assert "not finite" in str(compare_logits(0.5, value, -1.0, 0.0).violation(TOLERANCE))


def test_a_constant_output_is_wrong():
    assert "constant" in str(compare_logits(0.0, 0.0, 0.0, 0.0).violation(TOLERANCE))
    assert "constant" in str(compare_logits(0.7, 0.7, 0.7, 0.7).violation(TOLERANCE))


@pytest.mark.parametrize("shape", [(4,), (1, 3), (1, 4, 1), (4, 1), (0,)])
def test_another_shape_is_wrong(shape: tuple[int, ...]):
    comparison = compare({"logits": np.zeros(shape)}, REFERENCE, classes=True)
    assert f"shape {list(shape)}, the reference [1, 4]" in str(comparison.violation(TOLERANCE))


def test_a_missing_output_is_wrong_and_an_additional_one_is_not():
    assert "'logits' is missing" in str(compare({}, REFERENCE, True).violation(TOLERANCE))
    outputs = REFERENCE | {"features": np.zeros(3)}
    assert compare(outputs, REFERENCE, True).violation(TOLERANCE) is None


def test_the_worst_output_counts():
    reference = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
    output = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.5])}
    assert compare(output, reference, False).max_abs_error == 0.5
    assert compare(output, {}, False).violation(TOLERANCE) == "the reference has no outputs"


def test_a_reference_of_zeros_takes_zeros_only():
    reference = {"x": np.zeros(3)}
    assert compare(reference, reference, False).violation(TOLERANCE) is None
    assert compare({"x": np.array([0.0, 0.0, 1e-3])}, reference, False).violation(TOLERANCE)


FLOATS = arrays.arrays(np.float64, 5, elements=st.floats(allow_nan=True, allow_infinity=True))


@given(output=FLOATS, reference=arrays.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_any_numbers_give_a_comparison_that_json_can_hold(output, reference):
    comparison = compare({"x": output}, {"x": reference}, classes=True)
    json.dumps(comparison.as_dict(), allow_nan=False)
    comparison.violation(TOLERANCE)
    if comparison.cosine is not None:
        assert -1.0 <= comparison.cosine <= 1.0
        if np.abs(output).max() > 2 * max(1e-300, np.abs(reference).max()):
            assert comparison.violation(TOLERANCE), "an absurd output must never pass"


@given(arrays.arrays(np.float32, (1, 6), elements=st.floats(-100, 100, width=32)))
def test_identical_outputs_always_pass(values):
    assert compare({"x": values}, {"x": values.copy()}, True).violation(TOLERANCE) is None


def test_arrays_come_back_as_they_were():
    stored = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.float32([1.5])}
    loaded = read_arrays(npz(**stored))
    assert set(loaded) == {"a", "b"}
    for name, array in stored.items():
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PK", b"no archive at all", random.Random(0).randbytes(500),
        zipped("logits", b"bytes without a header"),
        zipped("logits.npy", b""),
        zipped("logits.npy", b"\x93NUMPY"),
        zipped("logits.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16),
        zipped("logits.npy", npy_header((1 << 45,))),  # more memory than there is
        zipped("logits.npy", npy_header((1 << 31,)) + b"\0" * 64),  # says more than it has
        zipped("logits.npy", npy_header((-1,)) + b"\0" * 64),
        npz(logits=np.array(["text"])),
        npz(logits=np.array([1 + 2j])),
        npz(logits=np.array([(1.0,)], dtype=[("field", "f4")])),
        npz(logits=np.array(["2024-01-01"], dtype="datetime64[D]")),
        npz(logits=np.zeros(100))[:-30],
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_no_arrays_of_numbers_is_refused(data: bytes):
    with pytest.raises(ValueError):
        read_arrays(data)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked():
    bomb = bytearray(zipped("logits.npy", npy_header((8,)) + b"\0" * 64))
    entry = bomb.rindex(b"PK\x01\x02")  # the central directory: the size unpacked is at +24
    bomb[entry + 24 : entry + 28] = (MAX_OUTPUT_BYTES + 1).to_bytes(4, "little")
    with pytest.raises(ValueError, match="too large"):
        read_arrays(bytes(bomb))


def test_a_pickle_is_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    with pytest.raises(ValueError, match="pickle"):
        read_arrays(npz(logits=np.array([Evil()], dtype=object)))
    assert not (tmp_path / "executed").exists()


VALID = npz(logits=np.arange(40, dtype=np.float32), more=np.ones((2, 2)))


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6))
def test_damaged_archives_are_arrays_or_refused(damage: list[tuple[int, int]]):
    data = bytearray(VALID)
    for position, byte in damage:
        data[position] = byte
    try:
        outputs = read_arrays(bytes(data))
    except ValueError:
        return
    compare(outputs, {"logits": np.arange(40, dtype=np.float32)}, classes=True)
