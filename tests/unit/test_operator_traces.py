"""How the profilers of libraries read the libraries' traces. The traces are made up."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest
from cellfarm import libraries


@pytest.fixture
def profiler(monkeypatch) -> Any:
    """A library's profiler as a module; the tests do not need its back end."""

    def load(name: str) -> Any:
        monkeypatch.setitem(sys.modules, "backend", types.ModuleType("backend"))
        path = libraries.all_libraries()[name].folder / "profiler.py"
        spec = importlib.util.spec_from_file_location(f"{name}_profiler", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def kernel(name: str, kind: str, us: int, *shapes: list[int]) -> dict[str, Any]:
    arguments = {"op_name": kind, "input_type_shape": [{"float": shape} for shape in shapes]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": arguments}


def test_onnxruntime_kernels_are_grouped_by_run_and_find_their_node(profiler):
    trace = [
        {"cat": "Session", "name": "session_initialization", "dur": 1, "args": {}},
        kernel("relu_nchwc", "Conv", 500, [1, 32, 8, 8], [32, 1, 3, 3]),
        kernel("node_MatMul_1/MatMulAddFusion", "Gemm", 250),
        {"cat": "Session", "name": "model_run", "dur": 800, "args": {}},
        kernel("relu_nchwc", "Conv", 501, [1, 3, 8, 8], [32, 3, 3, 3]),
        {"cat": "Session", "name": "SequentialExecutor::Execute", "dur": 1, "args": {}},
        {"cat": "Session", "name": "model_run", "dur": 800, "args": {}},
        kernel("unfinished", "Add", 1),
    ]
    nodes = {"relu": "node_relu", "node_MatMul_1": "node_MatMul_1"}
    first_run, second_run = profiler("onnxruntime")._by_run(trace, nodes, {})
    assert first_run == [
        {"name": "relu_nchwc", "type": "Conv, depthwise", "node": "node_relu", "ms": 0.5},
        {"name": "node_MatMul_1/MatMulAddFusion", "type": "Gemm", "node": "node_MatMul_1", "ms": 0.25},
    ]  # fmt: skip
    assert [(operator["type"], operator["ms"]) for operator in second_run] == [("Conv", 0.501)]


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size, prefix = len(value), b""
    while size > 0x7F:
        prefix, size = prefix + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + prefix + bytes([size]) + value


def test_onnxruntime_reads_node_names_from_the_file(profiler, tmp_path):
    node = field(1, b"x") + field(2, b"relu") + field(3, b"node_relu") + field(4, b"Relu")
    nameless = field(1, b"relu") + field(2, b"y")
    weights = field(5, b"\x1a\x05bogus" * 100)
    graph = field(1, node) + weights + field(1, nameless)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + field(2, b"pytorch") + field(7, graph) + b"\x28\xac\x02")
    nodes, _ = profiler("onnxruntime")._read_nodes(path)
    assert nodes == {"relu": "node_relu", "node_relu": "node_relu"}


def traced_event(name: str, ms: float, instruction: int = 0, delegated: str = "") -> dict[str, Any]:
    return {
        "name": name, "chain": 0, "instruction": instruction, "delegated": delegated,
        "start_ns": 10**9, "end_ns": 10**9 + int(ms * 1e6),
    }  # fmt: skip


def test_executorch_counts_each_operator_once(profiler):
    events = [
        traced_event("native_call_add.out", 0.9, 1),
        traced_event("OPERATOR_CALL", 1.0, 1),
        traced_event("", 2.0, 2, "Fully Connected (NC, F32) GEMM #1"),
        traced_event("", 3.0, 2, "Convolution (NHWC, F32) DWConv #1"),
        traced_event("DELEGATE_CALL", 5.5, 2),
        traced_event("DELEGATE_CALL", 7.0, 3),  # a delegate that reports no operators
        traced_event("OPERATOR_CALL", 0.5, 4),
        traced_event("Method::execute", 15.0),
    ]
    assert [
        (operator["name"], operator["type"], operator["ms"])
        for operator in profiler("executorch")._operators(events)
    ] == [
        ("add.out", "add", 1.0),
        ("Fully Connected (NC, F32) GEMM #1", "Fully Connected", 2.0),
        ("Convolution (NHWC, F32) DWConv #1", "Convolution", 3.0),
        ("DELEGATE_CALL", "DELEGATE_CALL", 7.0),
        ("OPERATOR_CALL", "OPERATOR_CALL", 0.5),
    ]


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("conv2d_1", "conv2d_1"),
        ("linear_3__matmul_converted_raster_0", "linear_3"),
        ("mean_raster_1", "mean"),
        ("BinaryOp16", None),
    ],
)
def test_mnn_names_lead_back_to_the_source(profiler, name, node):
    assert profiler("mnn")._operator(name, "Raster", 0, 1_500_000) == {
        "name": name, "type": "Raster", "node": node, "ms": 1.5,
    }  # fmt: skip


def test_ncnn_runs_the_layers_that_outputs_need(profiler):
    def layer(name: str, kind: str, bottoms: list[int], tops: list[int]) -> Any:
        return types.SimpleNamespace(name=name, type=kind, bottoms=bottoms, tops=tops)

    def blob(name: str, producer: int) -> Any:
        return types.SimpleNamespace(name=name, producer=producer)

    layers = [
        layer("in0", "Input", [], [0]),
        layer("split", "Split", [0], [1, 2]),
        layer("conv", "Convolution", [1], [3]),
        layer("dangling", "ReLU", [2], [4]),
        layer("last", "ReLU", [3], [5]),
    ]
    blobs = [blob(f"b{number}", producer) for number, producer in enumerate([0, 1, 1, 2, 3])] + [
        blob("out0", 4)
    ]
    net = types.SimpleNamespace(layers=lambda: layers, blobs=lambda: blobs)
    session = types.SimpleNamespace(_net=net, _output_blobs=["out0"])
    module = profiler("ncnn")
    assert module._executed(session) == [
        ("conv", "Convolution", [("b3", module._AS_IS)]),
        ("last", "ReLU", [("out0", module._PLAIN)]),
    ]
