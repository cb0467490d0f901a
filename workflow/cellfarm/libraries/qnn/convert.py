"""ONNX to Qualcomm's HTP: a context binary, and the same graph as a DLC for the vendor's own tools."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

#: A context binary is made for one chip: Snapdragon 8 Gen 2 (SM8550, Hexagon v73), unless the config
#: names another under `tools: {qnn: {soc_model: ..., htp_arch: ...}}`.
DEFAULT_CHIP = {"soc_model": "43", "htp_arch": "73"}
_FALLBACK = "assigned to the default CPU EP"
_REFUSED = re.compile(r"Unsupported nodes in QNN EP: (.*)")
_NODE = re.compile(r"\{ name: (.*?), type: (.*?) \}")
#: What QNN says when it takes every node but not the whole graph.
_GRAPH_REFUSED = re.compile(r"(?i)failed to (finalize|add|compose|validate)|QNN_GRAPH_ERROR")


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``context.onnx`` with ``context_qnn.bin``, ``model.dlc`` and ``nodes.json``.

    At ``fp16`` the back end computes the float graph in half precision. At ``int8`` ONNX Runtime's
    quantiser adds QDQ nodes, with its settings for QNN.

    Raises:
        Unsupported: the HTP does not take the whole graph; the message names the operators.
    """
    chip = DEFAULT_CHIP | {
        name: value for name, value in model.get("tools", {}).items() if name in DEFAULT_CHIP
    }
    with tempfile.TemporaryDirectory() as scratch:
        graph = source
        if variant == "int8":
            graph = _quantised(source, Path(scratch), model)
        _write_nodes(source, graph, out / "nodes.json")
        options = chip | {
            # Inputs and outputs are FP32 in every artifact; the HTP quantises and dequantises them.
            "offload_graph_io_quantization": "0",
            "htp_graph_finalization_optimization_mode": "3",
        }
        if variant == "fp16":
            options["enable_htp_fp16_precision"] = "1"
        _compile(graph, options, context=out / "context.onnx")
        dlcs = Path(scratch) / "dlc"
        dlcs.mkdir()
        _compile(graph, options | {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": str(dlcs)})
        files = sorted(dlcs.glob("*.dlc"))
        if len(files) != 1:
            raise RuntimeError(f"one DLC was expected; the back end wrote {len(files)}")
        shutil.copyfile(files[0], out / "model.dlc")


def _quantised(source: Path, scratch: Path, model: dict[str, Any]) -> Path:
    """The graph with 8-bit weights (per-channel, signed) and activations (by the calibration set)."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import (
        get_qnn_qdq_config,
        qnn_preprocess_model,
    )

    prepared, target = scratch / "prepared.onnx", scratch / "quantised.onnx"
    if not qnn_preprocess_model(source, prepared):
        prepared = source
    # The HTP takes the scale of a LayerNormalization as unsigned 8 bits only (QNN error 3110).
    scales = {
        node.input[1]: [{"quant_type": QuantType.QUInt8, "symmetric": False}]
        for node in onnx.load(prepared).graph.node
        if node.op_type == "LayerNormalization"
    }
    settings = get_qnn_qdq_config(
        prepared,
        _Samples(model),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=scales,
    )
    quantize(prepared, target, settings)
    return target


class _Samples:
    """The calibration set as ONNX Runtime's calibrator reads it: one sample at a time."""

    def __init__(self, model: dict[str, Any]) -> None:
        import numpy as np

        names = [spec["name"] for spec in model["inputs"]]
        with np.load(model["calibration"]) as arrays:
            samples = zip(*(arrays[name] for name in names), strict=False)
        self._samples = (dict(zip(names, sample, strict=True)) for sample in samples)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def _write_nodes(source: Path, graph: Path, path: Path) -> None:
    """Write the type of each node, because QNN's profile has names only."""
    import onnx

    types = {node.name: node.op_type for node in onnx.load(graph).graph.node}
    exported = onnx.load(source).graph
    shapes = {weights.name: list(weights.dims) for weights in exported.initializer}
    for node in exported.node:
        groups = next((field.i for field in node.attribute if field.name == "group"), 1)
        weights = shapes.get(node.input[1], []) if len(node.input) > 1 else []
        # In a depthwise convolution a filter reads one channel: weights are (outputs, 1, ...).
        if node.op_type == "Conv" and groups > 1 and weights[1:2] == [1] and node.name in types:
            types[node.name] = "Conv, depthwise"
    path.write_text(json.dumps(types), encoding="utf-8")


def _compile(graph: Path, options: dict[str, str], context: Path | None = None) -> None:
    """Compile the whole graph for the HTP.

    Args:
        context: where to write the context; None writes none.

    Raises:
        Unsupported: the CPU would run a part of the graph, or QNN refuses it.
    """
    import onnxruntime
    import onnxruntime_qnn as qnn

    name = qnn.get_ep_name()
    if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(name, qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if context is not None:
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_embed_mode", "0")
        settings.add_session_config_entry("ep.context_file_path", str(context))
    options = {"backend_path": qnn.get_qnn_htp_path()} | options
    settings.add_provider_for_devices(devices[:1], options)
    logs: list[str] = []
    try:
        with _standard_error(logs):
            # Without `enable_fallback=0` a provider that fails is replaced by the CPU.
            onnxruntime.InferenceSession(str(graph), settings, enable_fallback=0)
    except Exception as error:
        reason = refusal(logs[0] if logs else "", str(error))
        if reason is None:
            raise
        raise Unsupported(reason) from error


def refusal(log: str, error: str) -> str | None:
    """Why the HTP does not take a graph; None for another failure.

    Args:
        log: the back end's standard error while it compiled.
        error: the message of the exception.
    """
    lists = _REFUSED.findall(log)
    nodes = _NODE.findall(lists[-1]) if lists else []
    if nodes and _FALLBACK in error:
        kinds = Counter(kind for _, kind in nodes)
        named = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        return f"the HTP does not take {named}; the first is {nodes[0][0]}"
    if _FALLBACK in error or _GRAPH_REFUSED.search(error):
        return f"QNN: {error.rpartition('FAIL : ')[2]}"
    return None


@contextlib.contextmanager
def _standard_error(logs: list[str]) -> Iterator[None]:
    """Record what C++ writes to standard error; only there QNN names the nodes that it refuses."""
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            file.seek(0)
            data = file.read()
            logs.append(data.decode(errors="replace"))
            os.write(2, data)  # for the job's log
