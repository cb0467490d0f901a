"""Half and 8-bit precision: really converted, run, verified on held-out samples, and profiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_model import Subject, make_model

pytestmark = pytest.mark.pipeline
#: Messages of a GPU's back end that finds no usable GPU.
NO_GPU = ("No adapters found", "No supported adapters")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("small") / "model")


def types_of(record: dict[str, Any]) -> list[str]:
    assert record["status"] == "ok", record
    return [operator["type"] for operator in record["profile"]["operators"]]


@pytest.mark.parametrize(
    ("library", "variant", "least", "quantised"),
    [
        ("onnxruntime", "fp16", 0.9999, "Cast"),
        ("onnxruntime", "int8", 0.99, "Quantize"),
        ("onnxruntime", "int8_dynamic", 0.99, "Quantize"),
        ("litert", "fp16", 0.9999, None),
        ("litert", "int8", 0.99, "Cast"),
        ("litert", "int8_dynamic", 0.99, "Cast"),
        ("executorch", "int8", 0.99, "Cast"),
    ],
)
def test_a_variant_is_made_run_verified_and_profiled(model, library, variant, least, quantised):
    subject = Subject.of(library, variant, model)
    record = subject.convert()
    assert (record.status, record.reason) == ("ok", None), record
    launch = subject.launch("quality")
    assert launch["status"] == "ok", launch
    # Not as good as full precision either: something was rounded.
    assert least < launch["quality"]["cosine"] < 1 - 1e-9
    types = types_of(subject.launch("profile"))
    assert "Other" not in types
    assert {"DepthwiseConv", "Conv" if library == "onnxruntime" else "MatMul"} <= set(types)
    assert quantised is None or quantised in types


def test_the_same_conversion_gives_the_same_file(model):
    subject = Subject.of("onnxruntime", "int8", model)
    first, second = subject.convert("one"), subject.convert("two")
    assert first.content == second.content


def test_what_xnnpack_would_leave_in_full_precision_is_refused(model):
    record = Subject.of("executorch", "int8_dynamic", model).convert()
    assert record.status == "unsupported"
    assert "3 convolutions would stay in full precision" in (record.reason or "")


@pytest.mark.parametrize("library", ["onnxruntime_webgpu", "litert"])
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_a_gpu_is_used_or_the_launch_fails(model, library, variant):
    subject = Subject.of(library, variant, model)
    assert subject.convert().status == "ok"
    launch = subject.launch("quality", "gpu")
    if launch["status"] != "ok":
        # There is no GPU here; no other reason is allowed.
        assert launch["status"] == "unsupported", launch
        assert any(reason in launch["reason"] for reason in NO_GPU), launch
        return
    assert launch["quality"]["cosine"] > (0.99999 if variant == "fp32" else 0.999)
    assert launch["actual"]["device"], launch["actual"]
    assert launch["actual"]["provider"] in ("WebGpuExecutionProvider", "webgpu")
    if library == "onnxruntime_webgpu":
        assert {"DepthwiseConv", "Conv"} <= set(types_of(subject.launch("profile", "gpu")))


def test_8_bits_on_litert_s_gpu_are_refused(model):
    subject = Subject.of("litert", "int8", model)
    assert subject.convert().status == "ok"
    launch = subject.launch("quality", "gpu")
    assert launch["status"] == "unsupported", launch
    assert "widens 8-bit models" in launch["reason"]
