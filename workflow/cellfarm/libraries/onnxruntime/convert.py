"""ONNX Runtime reads ONNX as it is: the artifact is the exported file, once the library takes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.onnx``.

    Raises:
        Unsupported: ONNX Runtime has no implementation of an operator, or refuses the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise Unsupported(str(error)) from error
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph as error:
        raise Unsupported(str(error)) from error
    shutil.copyfile(source, out / "model.onnx")
