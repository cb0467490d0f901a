"""TorchScript to MACE, by the converter in the user's source tree of MACE."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

#: MACE's config_parser calls yaml.load(text), which PyYAML 6 does not have. A patched tree runs, too.
_RUN = """\
import functools, runpy, sys, yaml
plain = yaml.load
yaml.load = lambda stream, Loader=yaml.SafeLoader: plain(stream, Loader=Loader)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_NAME = "model"
_DATA_TYPES = {"fp32": "fp32_fp32", "fp16": "fp16_fp32"}
_REFUSED = re.compile(r"Mace does not support onnx op type ([^\n]*?) yet")


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.pb`` and ``model.data``.

    Raises:
        Unsupported: there is no source tree, MACE lacks an operator, or mace_run cannot read an input.
    """
    tree = model.get("tools", {}).get("source")
    if not tree:
        raise Unsupported(
            "MACE needs source: give the paths under `tools:`; see docs/vendor-tools.md"
        )
    script = Path(tree) / "tools" / "python" / "convert.py"
    if not script.is_file():
        raise Unsupported(f"tools.mace.source: {tree} is no source tree of MACE: no {script.name}")
    for spec in model["inputs"]:
        if spec["dtype"] != "float32":
            raise Unsupported(
                f"mace_run reads float32 inputs; '{spec['name']}' is of {spec['dtype']}"
            )
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        _export(source, graph, model)
        config = Path(scratch) / "model.yml"
        config.write_text(describe(graph, variant, model), encoding="utf-8")
        output = Path(scratch) / "out"
        command = [sys.executable, "-c", _RUN, str(script), f"--config={config}"]
        result = subprocess.run(
            [*command, f"--output={output}"],
            cwd=tree,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(result.stdout, flush=True)
        _check(result.returncode, result.stdout)
        for name in (f"{_NAME}.pb", f"{_NAME}.data"):
            path = output / _NAME / "model" / name
            if not path.is_file() or not path.stat().st_size:
                raise RuntimeError(f"MACE's converter ended with code 0, and without {name}")
            shutil.copyfile(path, out / name)


def describe(graph: Path, variant: str, model: dict[str, Any]) -> str:
    """The description that MACE's converter reads, as YAML (which JSON is)."""
    inputs, outputs = model["inputs"], model["outputs"]
    subgraph = {
        "input_tensors": [spec["name"] for spec in inputs],
        "input_shapes": [_shape(spec) for spec in inputs],
        "input_data_formats": [_layout(spec) for spec in inputs],
        "output_tensors": [spec["name"] for spec in outputs],
        "output_shapes": [_shape(spec) for spec in outputs],
        "output_data_formats": [_layout(spec) for spec in outputs],
    }
    settings = {
        "platform": "onnx",
        "model_file_path": str(graph),
        "model_sha256_checksum": hashlib.sha256(graph.read_bytes()).hexdigest(),
        "subgraphs": [subgraph],
        "runtime": "cpu",
        "data_type": _DATA_TYPES[variant],
        "limit_opencl_kernel_time": 0,
        "nnlib_graph_mode": 0,
        "obfuscate": 0,
        "winograd": 0,
    }
    return json.dumps(
        {
            "library_name": _NAME,
            "target_abis": ["host"],
            "model_graph_format": "file",
            "model_data_format": "file",
            "models": {_NAME: settings},
        },
        indent=1,
    )


def _shape(spec: dict[str, Any]) -> str:
    return ",".join(str(size) for size in spec["shape"])


def _layout(spec: dict[str, Any]) -> str:
    return "NCHW" if len(spec["shape"]) == 4 else "NONE"


def _export(source: Path, graph: Path, model: dict[str, Any]) -> None:
    """Export ONNX of opset 13; MACE reads no file of PyTorch's newer exporter."""
    import numpy as np
    import torch

    with np.load(model["sample_inputs"]) as arrays:
        inputs = tuple(torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"])
    module = torch.jit.load(str(source)).eval()
    try:
        torch.onnx.export(
            module,
            inputs,
            str(graph),
            opset_version=13,
            dynamo=False,
            input_names=[spec["name"] for spec in model["inputs"]],
            output_names=[spec["name"] for spec in model["outputs"]],
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise Unsupported(f"torch.onnx to opset 13: {error}") from error


def _check(code: int, log: str) -> None:
    """Check the converter's exit code and its log, which alone says why it failed.

    Raises:
        Unsupported: MACE lacks an operator.
        RuntimeError: the converter failed for another reason.
    """
    refusal = _REFUSED.search(log)
    if refusal:
        raise Unsupported(f"MACE does not support the ONNX operator {refusal[1]}")
    if code:
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        raise RuntimeError(
            f"MACE's converter ended with code {code}: {lines[-1] if lines else 'no output'}"
        )
