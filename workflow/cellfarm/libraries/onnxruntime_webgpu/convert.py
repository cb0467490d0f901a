"""ONNX to ONNX Runtime: the exported file as it is, or in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.onnx``; inputs and outputs keep the model's types.

    Only a device with a GPU shows whether the GPU takes it.
    """
    target = out / "model.onnx"
    if variant == "fp32":
        shutil.copyfile(source, target)
        return
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = ONNXModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    half.topological_sort()  # the casts of inputs and outputs stand at the end
    half.save_model_to_file(str(target))
