"""A user's ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed, make_input_shape_fixed
from protocol import RecipeError
from user_model import Facts, Tensor, UserModel

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    **{f"tensor({name})": name for name in ("int64", "int32", "int16", "int8", "uint8", "bool")},
}
#: The largest message of Protocol Buffers, and so the largest ONNX file.
MAX_BYTES = 2**31 - 1
_QUANTISED = ("Quantize", "QLinear", "ConvInteger", "MatMulInteger", "MatMulNBits", "QGemm")


def open_file(file: Path) -> UserModel:
    """See user_files.open_file."""
    return OnnxFile(file)


class OnnxFile:
    """See user_model.UserModel.

    Weights in files beside it become a part of it.

    Raises:
        RecipeError: more than 2 GB, or an output that is no tensor of numbers.
    """

    def __init__(self, file: Path) -> None:
        _check_size(file.stat().st_size)
        self._model = onnx.load(file, load_external_data=False)
        _check_size(file.stat().st_size + sum(_sizes(self._model, file.parent)))
        # It refuses paths and links that lead out of the folder.
        external_data_helper.load_external_data_for_model(self._model, str(file.parent))
        session = self._session()
        self.inputs = [
            Tensor(node.name, tuple(map(_size, node.shape)), _TYPES.get(node.type, node.type))
            for node in session.get_inputs()
        ]
        for node in session.get_outputs():
            if node.type not in _TYPES:
                raise RecipeError(f"output {node.name!r} is no tensor of numbers but {node.type}")

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        graph = self._model.graph
        by_name = {value.name: value for value in graph.input}
        for spec, tensor in zip(specs, self.inputs, strict=True):
            if tensor.shape is not None and None not in tensor.shape:
                continue
            # A named free size is the same wherever the name occurs.
            for dim, size in zip(_dims(by_name[spec["name"]]), spec["shape"], strict=True):
                if dim.dim_param:
                    make_dim_param_fixed(graph, dim.dim_param, size)
            make_input_shape_fixed(graph, spec["name"], spec["shape"])
        self._fixed = self._session()

    def outputs(self) -> list[str]:
        return [node.name for node in self._fixed.get_outputs()]

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        feed = {tensor.name: array for tensor, array in zip(self.inputs, arrays, strict=True)}
        return list(self._fixed.run(None, feed))

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        weights = self._model.graph.initializer
        types = {weight.data_type for weight in weights if len(weight.dims) > 1}
        precision = "fp32"
        if types & {TensorProto.FLOAT16, TensorProto.BFLOAT16}:
            precision = "fp16"
        if any(name in node.op_type for node in self._model.graph.node for name in _QUANTISED):
            precision = "int8"
        parameters = sum(int(np.prod(weight.dims)) for weight in weights if len(weight.dims) > 0)
        return Facts(parameters=parameters, precision=precision)

    def write(self, out: Path) -> None:
        onnx.save(self._model, out / "model.onnx")

    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        data = self._model.SerializeToString()
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise RecipeError(
            f"with its weights it has {size_bytes / 1e9:.1f} GB: models in ONNX of more than 2 GB are"
            " not supported"
        )


def _sizes(model: onnx.ModelProto, folder: Path) -> Iterator[int]:
    """The size in bytes of each tensor in another file."""
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            data = external_data_helper.ExternalDataInfo(tensor)
            whole = data.length is None
            yield (folder / data.location).stat().st_size if whole else int(data.length)


def _size(size: object) -> int | None:
    return size if isinstance(size, int) and size >= 0 else None


def _dims(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim
