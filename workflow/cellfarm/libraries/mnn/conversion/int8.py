"""The calibration set as MNN's quantiser reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cellfarm_convert import Unsupported  # type: ignore[import-not-found]


def write_samples(folder: Path, samples: Path, inputs: Sequence[Mapping[str, Any]]) -> Path:
    """Write the samples and the quantiser's configuration; returns the latter's path.

    Besides pictures, which can hold 8-bit values only, mnnquant reads text (`input_type` "sequence"):
    a folder for each sample with a file of numbers for each input. So it gets the same tensors as
    every other library.

    It has three ways to find the scales of activations. ADMM looks at all samples at once: cosine
    0.994, 0.972, 0.981 and 0.947 for SqueezeNet 1.1, MobileNetV2, ResNet-50 and Inception v3. EMA
    follows one sample after the other: 0.969, 0.978, 0.970 and 0.878. KL ends with a segmentation
    fault.

    Args:
        samples: calibration.npz: of each input an array [n, *shape].

    Raises:
        Unsupported: an input that is not float32.
    """
    for spec in inputs:
        if spec["dtype"] != "float32":
            # It copies the bits of floats into the input, whatever its type.
            raise Unsupported(
                f"mnnquant calibrates with floats only; the input {spec['name']} is {spec['dtype']}"
            )
    with np.load(samples) as arrays:
        columns = {spec["name"]: arrays[spec["name"]] for spec in inputs}
    number = min(len(column) for column in columns.values())
    shapes = [{"name": spec["name"], "shape": spec["shape"]} for spec in inputs]
    texts = folder / "samples"
    for position in range(number):
        one = texts / f"{position:04}"
        one.mkdir(parents=True)
        for name, column in columns.items():
            values = (f"{value:.9g}" for value in column[position].ravel().tolist())
            (one / f"{name}.txt").write_text(" ".join(values) + "\n", encoding="utf-8")
        (one / "input.json").write_text(json.dumps({"inputs": shapes}), encoding="utf-8")
    config = {
        "path": f"{texts}/",
        "input_type": "sequence",
        "used_sample_num": number,
        "inputs": shapes,
        "feature_quantize_method": "ADMM",
        "weight_quantize_method": "MAX_ABS",
        "quant_bits": 8,
    }
    path = folder / "quantisation.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def quantised_operators(path: Path) -> int:
    """How many operators of a file compute on 8-bit numbers, found by running it once."""
    import MNN

    interpreter = MNN.Interpreter(str(path))
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    kinds: list[str] = []

    def before(tensors: list[Any], info: Any) -> bool:
        kinds.append(info.getType())
        return True

    interpreter.runSessionWithCallBackInfo(session, before, lambda tensors, info: True)
    return sum("DT_INT8" in kind for kind in kinds)
