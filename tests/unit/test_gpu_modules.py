"""How GPU back ends and profilers read the output of their libraries; the texts are real output."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from typing import Any

import pytest
from cellfarm import libraries
from cellfarm.measures.operators.profile import read_vocabulary

from tests.support.runner_modules import runner_module

ADAPTER = (
    "I0000 00:00:1795272475.309759   20917 environment.cc:532] Selected adapter: {name}, "
    "arch={arch}, vendor=mesa, backend=Vulkan, adapterType={kind}\nINFO: [delegate_webgpu.cc:363] x\n"
)
LACKS = """\
ERROR: Following operations are not supported by GPU delegate:
BROADCAST_TO: Operation is not supported.
RESHAPE: Tensor dimensions must be less than 5. InvertedResidual_0;2
RESHAPE: Tensor dimensions must be less than 5. InvertedResidual_0;3
EMBEDDING_LOOKUP: EMBEDDING_LOOKUP: Empty quantization params.
220 operations will run on the GPU, and the remaining 28 operations will run on the CPU.
"""
NO_GPU = """\
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
WARNING: Logging before InitGoogle() is written to STDERR
"""


@pytest.fixture
def module(monkeypatch) -> Any:
    """Loads a module of a library's folder; an empty module replaces the back end."""

    def load(library: str, name: str) -> Any:
        monkeypatch.setitem(sys.modules, "backend", types.ModuleType("backend"))
        monkeypatch.setitem(sys.modules, "refusal", runner_module("refusal"))
        path = libraries.all_libraries()[library].folder / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{library}_{name}", path)
        assert spec and spec.loader
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.mark.parametrize(
    ("name", "arch", "kind", "emulated"),
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", "software", "CPU / Software", True),
        ("Mali-G78", "valhall", "Integrated GPU", False),
        ("NVIDIA H200, 2", "hopper", "Discrete GPU", False),
    ],
)
def test_litert_tells_which_gpu_it_took(module, name, arch, kind, emulated):
    text = "INFO: before\n" + ADAPTER.format(name=name, arch=arch, kind=kind)
    assert module("litert", "gpu").adapter(text) == {"device": name, "emulated": emulated}


def test_a_gpu_without_a_name_is_none(module):
    with pytest.raises(RuntimeError, match="names no device"):
        module("litert", "gpu").adapter("INFO: all is well\n")


def test_litert_s_reason_is_found_in_what_it_writes(module):
    gpu = module("litert", "gpu")
    assert gpu.reason("INFO: x\n" + LACKS + "INFO: y\n") == (
        "not supported: BROADCAST_TO: Operation is not supported; "
        "RESHAPE: Tensor dimensions must be less than 5; "
        "EMBEDDING_LOOKUP: EMBEDDING_LOOKUP: Empty quantization params"
    )
    assert gpu.reason(NO_GPU) == "INTERNAL: No adapters found"
    assert gpu.reason("INFO: x\n") is None


def test_standard_error_is_read_and_passed_on(module, capfd):
    gpu = module("litert", "gpu")
    result, text = gpu.capture_standard_error(lambda: os.write(2, b"from the library\n"))
    assert (result, text) == (17, "from the library\n")

    def fail() -> None:
        os.write(2, NO_GPU.encode())
        raise ValueError("opaque")

    with pytest.raises(RuntimeError, match="litert: the GPU: INTERNAL: No adapters found"):
        gpu.capture_standard_error(fail)
    with pytest.raises(RuntimeError, match="litert: the GPU: nothing said"):
        gpu.capture_standard_error(lambda: (_ for _ in ()).throw(ValueError("nothing said")))
    assert capfd.readouterr().err == "from the library\n" + NO_GPU


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], {}),
        ([(4, "llvmpipe")], {"device": "llvmpipe", "emulated": True}),
        ([(4, "llvmpipe"), (1, "UHD 770")], {"device": "UHD 770", "emulated": False}),
        ([(1, "UHD 770"), (2, "RTX")], {"device": "RTX", "emulated": False}),
        ([(2, "RTX"), (2, "RTX")], {"device": None, "emulated": False}),
        ([(0, "odd")], {"device": "odd", "emulated": False}),
    ],
)
def test_the_vulkan_device_is_the_one_that_dawn_prefers(module, devices, expected):
    assert module("onnxruntime_webgpu", "vulkan").choose(devices) == expected


def program(name: str, ts: int, shapes: str = "") -> dict[str, Any]:
    return {"cat": "Api", "name": name, "ts": ts, "dur": 250, "args": {"shapes": shapes}}


def test_webgpu_programs_are_in_order_and_find_their_node(module):
    trace = [
        program("node_mean&ReduceMean&ReduceMean", 30),
        {"cat": "Node", "name": "node_mean_kernel_time", "ts": 1, "dur": 9, "args": {}},
        program("node_conv_1_token_5&Conv&GroupedConv", 20, "inputs[0] = {1,8,8,4} inputs[1] = {3,3,1,4} "),
        program("node_conv_2_token_6&Conv&GroupedConv", 21, "inputs[0] = {1,8,8,4} inputs[1] = {3,3,2,4} "),
        program("Transpose_token_7&Transpose&Transpose", 10),
    ]  # fmt: skip
    model = b"\x0a\x05\x1a\x0bnode_conv_1\x22\x04Conv\x1a\x09node_mean"
    operators = module("onnxruntime_webgpu", "profiler").programs(trace, model)
    assert [(operator["type"], operator["node"], operator["ms"]) for operator in operators] == [
        ("Transpose", None, 0.25),
        ("Conv, depthwise", "node_conv_1", 0.25),
        ("Conv", None, 0.25),
        ("ReduceMean", "node_mean", 0.25),
    ]
    assert operators[0]["name"] == "Transpose_token_7&Transpose&Transpose"


@pytest.mark.parametrize(
    ("groups", "inputs", "depthwise"),
    [
        (32, [[1, 32, 8, 8], [32, 1, 3, 3]], True),
        (4, [[1, 32, 8, 8], [32, 8, 3, 3]], False),
        # Quantised: channels last, and no weights.
        (32, [[1, 8, 8, 32], [], []], True),
        (1, [[1, 8, 8, 1], [], []], False),
        (1, [[1, 8, 8, 32], [], []], False),
        # A node that is not in the model's file.
        (None, [[1, 32, 8, 8], [32, 1, 3, 3]], True),
        (None, [[1, 1, 8, 8], [32, 1, 3, 3]], False),
        (None, [[1, 8, 8, 32], [], []], False),
        (None, [], False),
    ],
)
def test_onnxruntime_s_depthwise_convolutions(module, groups, inputs, depthwise):
    arguments = {"input_type_shape": [{"uint8": shape} for shape in inputs]}
    assert module("onnxruntime", "profiler")._is_depthwise(arguments, groups) is depthwise


@pytest.mark.parametrize(
    "name", ["conv_1_token_5", "conv_1_nchwc", "InsertedPrecisionFreeCast_conv_1_nchwc", "conv_1"]
)
def test_onnxruntime_s_names_lead_back_to_the_file(module, tmp_path, name):
    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    def attribute(attribute_name: bytes, value: int) -> bytes:
        return field(5, field(1, attribute_name) + bytes([3 << 3, value]) + b"\xa0\x01\x02")

    node = field(3, b"conv_1") + attribute(b"pads", 1) + attribute(b"group", 32)
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7, field(1, node)))
    profiler = module("onnxruntime", "profiler")
    arguments = {"op_name": "QLinearConv", "input_type_shape": [{"uint8": [1, 8, 8, 32]}]}
    event = {"cat": "Node", "name": f"{name}_kernel_time", "dur": 500, "args": arguments}
    trace = [event, {"cat": "Session", "name": "model_run", "dur": 800, "args": {}}]
    ((operator,),) = profiler._by_run(trace, *profiler._read_nodes(path))
    assert operator == {"name": name, "type": "QLinearConv, depthwise", "node": "conv_1", "ms": 0.5}


@pytest.mark.parametrize(
    ("library", "kind", "common"),
    [
        ("onnxruntime", "QLinearConv, depthwise", "DepthwiseConv"),
        ("onnxruntime", "ConvInteger, depthwise", "DepthwiseConv"),
        ("onnxruntime", "DynamicQuantizeMatMul", "MatMul"),
        ("onnxruntime", "QuantizeLinear", "Quantize"),
        ("onnxruntime", "DequantizeLinear", "Dequantize"),
        ("onnxruntime_webgpu", "Conv, depthwise", "DepthwiseConv"),
        ("litert", "QUANTIZE", "Quantize"),
        ("litert", "Convert", "Cast"),
        ("executorch", "Invalid Unary Op", "Elementwise"),
    ],
)
def test_quantised_operators_have_common_names(library, kind, common):
    path = libraries.all_libraries()[library].folder / "operators.yaml"
    assert read_vocabulary(path).common(kind, "any") == common
