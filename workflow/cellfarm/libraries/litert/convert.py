"""To LiteRT (TFLite): a PyTorch program by litert-torch and Google's AI Edge Quantizer, a Keras model by
TensorFlow's converter."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

_REFUSALS = (
    *("lowering not found", "not supported", "unsupported"),
    *("not yet supported", "neither a custom op nor a flex op"),  # TensorFlow's
)
_OPERATOR = re.compile(r"'tf\S*' op .*")
_NUMBER = re.compile(r"\d+$")
#: Weights are stored as half floats; loading the model widens them.
_HALF = [
    {
        "regex": ".*",
        "operation": "*",
        "algorithm_key": "float_casting",
        "op_config": {
            "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        },
    }
]
#: The model's inputs and outputs stay float: the file quantises and dequantises them.
_FLOAT_ENDS = [
    {"regex": ".*", "operation": end, "algorithm_key": "no_quantize", "op_config": {}}
    for end in ("INPUT", "OUTPUT")
]


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.tflite`` or ``model.<variant>.tflite``, which tells the back end the variant.

    Inputs keep PyTorch's layout, and int64 ones become int32. Inputs and outputs have 32 bits at
    every variant.

    Raises:
        Unsupported: the converter has no lowering for an operator, TensorFlow cannot quantise one, or
            the user's file cannot be quantised.
    """
    if source.suffix == ".keras":
        name = "model.tflite" if variant == "fp32" else f"model.{variant}.tflite"
        _convert_keras(source, out / name, variant, model)
        return
    # The quantiser's progress bar cannot be switched off, only slowed down; read at tqdm's import.
    os.environ["TQDM_MININTERVAL"] = "3600"
    floats = out / "model.tflite"
    if source.suffix == ".tflite":
        shutil.copyfile(source, floats)
    else:
        _lower(source, floats, model)
    if variant != "fp32":
        _quantise(floats, out / f"model.{variant}.tflite", variant, model)
        floats.unlink()


def _convert_keras(source: Path, target: Path, variant: str, model: dict[str, Any]) -> None:
    from conversion.from_keras import convert as convert_keras

    try:
        convert_keras(source, target, variant, model)
    except Unsupported:
        raise
    except Exception as error:  # the converter's errors have no common class
        reason = refusal(error)
        if reason is None:
            raise
        # The operator's name stands after the stack trace.
        operator = _OPERATOR.search(reason)
        raise Unsupported(operator[0] if operator else reason) from error


def _lower(source: Path, target: Path, model: dict[str, Any]) -> None:
    import litert_torch
    import numpy as np
    import torch

    program = torch.export.load(source)
    with np.load(model["sample_inputs"]) as arrays:
        inputs = tuple(torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"])
    try:
        converted = litert_torch.convert(program.module(), inputs)
    except (NotImplementedError, RuntimeError) as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise Unsupported(reason) from error
    converted.export(str(target))


def refusal(error: BaseException | None) -> str | None:
    """The message of an error or of its cause, if it says that the converter lacks something."""
    while error is not None:
        if any(words in str(error).lower() for words in _REFUSALS):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


def _quantise(floats: Path, target: Path, variant: str, model: dict[str, Any]) -> None:
    """Quantise by the quantiser's own recipes: 8-bit weights are per-channel and symmetric."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(floats))
    ranges = None
    if variant == "fp16":
        tool.load_quantization_recipe(_HALF)
    elif variant == "int8_dynamic":
        tool.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        # A look-up table has no activations to observe: only its weights are quantised.
        tables = recipe.dynamic_wi8c_afp32(operation_name="EMBEDDING_LOOKUP")
        tool.load_quantization_recipe([*recipe.static_wi8_ai8(), *tables, *_FLOAT_ENDS])
        # One thread: sums in another order could give other ranges.
        ranges = tool.calibrate(_samples(floats, model), num_threads=1)
    result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    result.export_model(str(target))


def _samples(path: Path, model: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The calibration set by signature, with the file's names and types."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        raise Unsupported(f"the file has {len(signatures)} signatures; to quantise it takes one")
    ((signature, names),) = signatures.items()
    details = interpreter.get_signature_runner(signature).get_input_details()
    model_names = [spec["name"] for spec in model["inputs"]]
    file_names = model_names
    if set(model_names) != set(names["inputs"]):
        # litert-torch calls them args_0, args_1, ...
        file_names = sorted(names["inputs"], key=lambda name: int(_NUMBER.findall(name)[0]))
    with np.load(model["calibration"]) as arrays:
        columns = [
            arrays[model_name].astype(details[file_name]["dtype"])
            for model_name, file_name in zip(model_names, file_names, strict=True)
        ]
    samples = zip(*columns, strict=True)
    return {signature: [dict(zip(file_names, sample, strict=True)) for sample in samples]}
