"""Half and 8-bit precision, for real: converted, run, verified on held-out samples, and profiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_model import Subject, make_model

pytestmark = pytest.mark.pipeline
#: What a GPU's back end says where there is none that it can use.
NO_GPU = ("No adapters found", "No supported adapters")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("small") / "model")


def types_of(record: dict[str, Any]) -> list[str]:
    assert record["status"] == "ok", record
    return [one["type"] for one in record["profile"]["operators"]]


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
    told = subject.launch("quality")
    assert told["status"] == "ok", told
    # Not as good as full precision either: something was rounded.
    assert least < told["quality"]["cosine"] < 1 - 1e-9
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
    told = subject.launch("quality", "gpu")
    if told["status"] != "ok":
        # Here is no GPU; nothing else may be the reason.
        assert told["status"] == "unsupported", told
        assert any(words in told["reason"] for words in NO_GPU), told
        return
    assert told["quality"]["cosine"] > (0.99999 if variant == "fp32" else 0.999)
    assert told["actual"]["device"], told["actual"]
    assert told["actual"]["provider"] in ("WebGpuExecutionProvider", "webgpu")
    if library == "onnxruntime_webgpu":
        assert {"DepthwiseConv", "Conv"} <= set(types_of(subject.launch("profile", "gpu")))


def test_8_bits_on_litert_s_gpu_are_refused(model):
    subject = Subject.of("litert", "int8", model)
    assert subject.convert().status == "ok"
    told = subject.launch("quality", "gpu")
    assert told["status"] == "unsupported", told
    assert "widens 8-bit models" in told["reason"]
