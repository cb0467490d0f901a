"""ONNX to ONNX Runtime: the exported file as it is, or changed by the library's own tools."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cellfarm_convert import Unsupported

_LOWERED = "lowered.onnx"
#: Operator sets to try for a version that is too old for the export's, the newest first.
_OLDER_SETS = (21, 20, 19, 18, 17, 16, 15)
#: What ONNX Runtime says of a file that is too new for it.
_TOO_NEW = ("ir version", "opset")


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.onnx``; inputs and outputs keep the model's types at every variant.

    A version that is older than the operator set of the export gets an older one.

    Raises:
        Unsupported: ONNX Runtime has no implementation of an operator, or refuses the graph.
    """
    target = out / "model.onnx"
    source = _supported(source, out)
    makers = {"fp32": _copy, "fp16": _half, "int8": _static, "int8_dynamic": _dynamic}
    makers[variant](source, target, model)
    (out / _LOWERED).unlink(missing_ok=True)
    _check(target)


def _supported(source: Path, out: Path) -> Path:
    """The graph in an operator set that this version of ONNX Runtime has: as it is, or lowered."""
    refusal = _refusal(source)
    if refusal is None or not any(words in str(refusal).lower() for words in _TOO_NEW):
        return source
    import onnx
    from onnx import version_converter

    lowered = out / _LOWERED
    graph = onnx.load(source)
    for version in _OLDER_SETS:
        try:
            older = version_converter.convert_version(graph, version)
        except Exception as error:  # the converter's errors have no common class
            raise Unsupported(f"ONNX of operator set {version} cannot be made: {error}") from error
        older.ir_version = onnx.helper.find_min_ir_version_for(older.opset_import)
        onnx.save(older, lowered)
        # ONNX Runtime may lack operators of a set that it already accepts.
        if _refusal(lowered) is None:
            break
    return lowered


def _copy(source: Path, target: Path, model: dict[str, Any]) -> None:
    shutil.copyfile(source, target)


def _half(source: Path, target: Path, model: dict[str, Any]) -> None:
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = ONNXModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    half.topological_sort()  # the casts of inputs and outputs stand at the end
    half.save_model_to_file(str(target))


def _static(source: Path, target: Path, model: dict[str, Any]) -> None:
    """8-bit weights (per-channel, signed) and activations with observed ranges."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    prepared = _prepared(source, target)
    quantize_static(
        prepared,
        target,
        _Samples(model),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


def _dynamic(source: Path, target: Path, model: dict[str, Any]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared = _prepared(source, target)
    graph = onnx.load(prepared)
    prepared.unlink()
    # The quantiser transposes a Gemm's weights but not their recorded shape, and then fails on it.
    # Without recorded shapes it infers all of them.
    del graph.graph.value_info[:]
    quantize_dynamic(graph, target, per_channel=True, weight_type=QuantType.QInt8)


def _prepared(source: Path, target: Path) -> Path:
    """The graph with shapes, simplified and fused, as the quantisers expect it.

    Every shape is fixed, so ONNX's own shape inference is enough.
    """
    _restore_mapping()
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    return prepared


def _restore_mapping() -> None:
    """Give ``onnx`` the tables that it had until 1.18; quantisers before 1.19 read them."""
    import onnx
    from onnx import helper

    if hasattr(onnx, "mapping"):
        return
    kinds = helper.get_all_tensor_dtypes()
    to_numpy = {kind: helper.tensor_dtype_to_np_dtype(kind) for kind in kinds}
    to_kind = {dtype: kind for kind, dtype in reversed(to_numpy.items())}
    onnx.mapping = SimpleNamespace(TENSOR_TYPE_TO_NP_TYPE=to_numpy, NP_TYPE_TO_TENSOR_TYPE=to_kind)


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


def _check(path: Path) -> None:
    """Raise if ONNX Runtime does not take the file."""
    import onnxruntime

    errors = onnxruntime.capi.onnxruntime_pybind11_state
    error = _refusal(path)
    if isinstance(error, (errors.NotImplemented, errors.InvalidGraph)):
        raise Unsupported(str(error)) from error
    if error is not None:
        raise error


def _refusal(path: Path) -> Exception | None:
    """ONNX Runtime's error when it loads a file; None if it takes the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own errors have no common class
        return error
    return None
