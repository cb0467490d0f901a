"""Profiles from a device are checked, translated to common names and added up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from cellfarm import libraries
from cellfarm.base.errors import UserError
from cellfarm.measures.operators.profile import (
    MAX_OPERATORS,
    OTHER,
    Common,
    Vocabulary,
    operators_match,
    read_profile,
    read_vocabulary,
)

from tests.support.projects import write_yaml

VOCABULARY = Vocabulary(
    {"Convolution": "Conv", "BinaryOp": "Elementwise"},
    (("BinaryOp", re.compile(r"add(_\d+)?"), "Add"), ("Convolution", re.compile(".*DW.*"), "DepthwiseConv")),
)  # fmt: skip


def reported(**changes: Any) -> dict[str, Any]:
    """One operator of an event; a change to `...` leaves the key out."""
    operator = {"name": "c", "type": "Convolution", "node": "n", "ms": [1.0, 3.0, 2.0]} | changes
    return {key: value for key, value in operator.items() if value is not ...}


def event(*operators: Any, **changes: Any) -> dict[str, Any]:
    return {
        "operators": list(operators) or [reported()],
        "total_ms": [4.0, 5.0, 6.0],
        "method": "made up",
    } | changes


def test_operators_keep_their_order_and_get_medians_and_common_names():
    profile = read_profile(
        event(
            reported(),
            reported(name="add_1", type="BinaryOp", node=None, ms=[0, 0, 0.5]),
            reported(name="x", type="BinaryOp", ms=[1, 1, 1]),
            reported(name="conv DW 1", ms=[0.5] * 3),
            reported(name="add_1x", type="BinaryOp", ms=[0.25] * 3),
            reported(type="never seen", ms=[0.25] * 3),
        ),
        VOCABULARY,
    )
    assert [operator.type for operator in profile.operators] == [
        "Conv", "Add", "Elementwise", "DepthwiseConv", "Elementwise", OTHER,
    ]  # fmt: skip
    assert [operator.position for operator in profile.operators] == list(range(6))
    assert [operator.ms for operator in profile.operators] == [2, 0, 1, 0.5, 0.25, 0.25]
    assert profile.operators[1].node is None
    assert profile.operators[5].library_type == "never seen"
    assert (profile.sum_ms, profile.total_ms, profile.method) == (4.0, 5.0, "made up")
    # By run: 3 of 4, 5 of 5 and 4.5 of 6 ms.
    assert profile.gap == pytest.approx(-0.25)


def test_a_profile_can_be_stored_as_json():
    document = json.loads(json.dumps(read_profile(event(), VOCABULARY).as_dict(), allow_nan=False))
    assert document == {
        "operators": [
            {
                "position": 0, "name": "c", "type": "Conv", "library_type": "Convolution",
                "node": "n", "ms": 2.0,
            }
        ],
        "sum_ms": 2.0,
        "total_ms": 5.0,
        "gap": pytest.approx(-2 / 3, abs=1e-6),
        "method": "made up",
    }  # fmt: skip


def test_a_disturbance_that_moves_from_operator_to_operator_is_in_the_total_alone():
    profile = read_profile(
        event(
            reported(name="a", ms=[1, 1, 9]),
            reported(name="b", ms=[1, 9, 1]),
            reported(name="c", ms=[9, 1, 1]),
            total_ms=[11, 11, 11],
        ),
        VOCABULARY,
    )
    assert (profile.sum_ms, profile.total_ms, profile.gap) == (3, 11, 0)


def test_an_unknown_total_is_unknown():
    for missing in ({"total_ms": None}, {"total_ms": []}):
        profile = read_profile(event(**missing), VOCABULARY)
        assert (profile.total_ms, profile.gap) == (None, None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "no mapping"),
        ([], "no mapping"),
        ({}, "no list"),
        (event(operators={}), "no list"),
        (event(operators=[]), "no list"),
        (event(operators=[reported()] * (MAX_OPERATORS + 1)), "no list"),
        (event("x"), "operator 0 is no mapping"),
        (event(reported(name=5)), "no name"),
        (event(reported(name=" \n")), "no name"),
        (event(reported(type=...)), "no name"),
        (event(reported(node=["n"])), "no name"),
        (event(reported(ms=...)), "0 times"),
        (event(reported(ms=[])), "0 times"),
        (event(reported(ms=1.0)), "no list of at most"),
        (event(reported(ms=[1.0] * 10_001)), "no list of at most"),
        (event(reported(ms=["1"])), "no time"),
        (event(reported(ms=[True])), "no time"),
        (event(reported(ms=[float("nan")])), "no time"),
        (event(reported(ms=[float("inf")])), "no time"),
        (event(reported(ms=[-0.001])), "no time"),
        (event(reported(ms=[10**400])), "no time"),
        (event(reported(), reported(ms=[1.0])), "operator 1 has 1 times; others have 3"),
        (event(total_ms=[1.0]), "total_ms: 3 times above 0"),
        (event(total_ms=[1.0, 0.0, 1.0]), "total_ms: 3 times above 0"),
        (event(total_ms=[1.0, 2.0, None]), "no time"),
        (event(total_ms="abc"), "no list"),
    ],
)
def test_what_is_no_profile_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        read_profile(document, VOCABULARY)


def test_names_are_one_line_of_bounded_length_that_utf8_can_write():
    profile = read_profile(
        event(reported(name="a\nb\ud800" + "x" * 9999), method=["odd"]), VOCABULARY
    )
    name = profile.operators[0].name
    assert name.startswith("a b?xx")
    assert len(name) <= 300
    assert profile.method == "['odd']"


def test_the_sum_is_compared_as_a_share_of_the_latency():
    assert operators_match(11.5, 10.0) == pytest.approx(0.15)
    assert operators_match(8.0, 10.0) == pytest.approx(-0.2)
    for latency_ms in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="no latency"):
            operators_match(1.0, latency_ms)


def test_every_library_has_a_profiler_and_a_vocabulary():
    common = set(get_args(Common))
    for library in libraries.all_libraries().values():
        profiled_by = "profiler.py" if library.has_backend else "tool.py"
        assert (library.folder / profiled_by).is_file(), library.name
        vocabulary = read_vocabulary(library.folder / "operators.yaml")
        named_types = {*vocabulary.types.values(), *(rule[2] for rule in vocabulary.by_name)}
        assert named_types <= common
        # MACE does not report what an Eltwise computes, nor PyTorch Mobile which convolutions are depthwise.
        indistinct = {"mace": {"Add"}, "pytorch_mobile": {"DepthwiseConv"}}.get(library.name, set())
        required = {"Conv", "DepthwiseConv", "MatMul", "Softmax", "Transpose", "Add"}
        assert required - indistinct <= named_types


@pytest.mark.parametrize(
    ("library", "kind", "name", "common_name"),
    [
        ("onnxruntime", "Gemm", "node_MatMul_47/MatMulAddFusion", "MatMul"),
        ("onnxruntime", "Conv, depthwise", "hardtanh_1_nchwc", "DepthwiseConv"),
        ("onnxruntime", "ReorderOutput", "ReorderOutput", "Copy"),
        ("litert", "Convolution", "Convolution (NHWC, F32) DWConv", "DepthwiseConv"),
        ("litert", "Convolution", "Convolution (NHWC, F32) IGEMM", "Conv"),
        ("litert", "SELECT_V2", "SELECT_V2", "Where"),
        ("executorch", "Convolution", "Convolution (NHWC, F32) DWConv #3", "DepthwiseConv"),
        ("executorch", "native_layer_norm", "native_layer_norm.out", "LayerNorm"),
        ("mnn", "Convolution", "linear_3__matmul_converted", "MatMul"),
        ("mnn", "While", "matmul_2", "MatMul"),
        ("mnn", "While", "while_3", "ControlFlow"),
        ("mnn", "BinaryOp", "BinaryOp16", "Elementwise"),
        ("mnn", "UnaryOp", "gelu_2", "Gelu"),
        ("ncnn", "Pooling", "gap_0", "GlobalAveragePool"),
        ("ncnn", "Pooling", "maxpool2d_1", "MaxPool"),
        ("ncnn", "Pooling", "anything", "Pool"),
    ],
)
def test_libraries_words_have_common_names(library, kind, name, common_name):
    path = libraries.all_libraries()[library].folder / "operators.yaml"
    assert read_vocabulary(path).common(kind, name) == common_name


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"types": {"Convolve": ["X"]}}, "Convolve"),
        ({"types": {"Conv": "X"}}, "expected a list"),
        ({"types": {"Conv": ["X"], "Add": ["X"]}}, "'X' stands under 'Conv' and 'Add'"),
        ({"types": {}, "by_name": [{"type": "X", "name": "(", "is": "Add"}]}, "by_name"),
        ({"types": {}, "by_name": [{"type": "X", "name": "x", "is": "Plus"}]}, "Plus"),
        ({"types": {}, "more": 1}, "unknown key 'more'"),
        ({}, "'types' is missing"),
    ],
)
def test_mistakes_in_a_vocabulary_are_named(tmp_path: Path, document, message):
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        read_vocabulary(write_yaml(tmp_path / "operators.yaml", document))
    assert "operators.yaml" in str(refusal.value)
