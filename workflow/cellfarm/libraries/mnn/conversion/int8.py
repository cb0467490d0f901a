"""The calibration set as MNN's quantiser reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cellfarm_convert import Unsupported  # type: ignore[import-not-found]


def write_samples(folder: Path, samples: Path, inputs: Sequence[Mapping[str, Any]]) -> Path:
    """Write the samples and the quantiser's configuration; return the latter's path.

    Besides pictures, which hold 8-bit values only, mnnquant reads text (`input_type` "sequence"): a folder
    for each sample, with a file of numbers for each input. So it gets the same tensors as every library.

    It finds the scales of activations in three ways. ADMM uses all samples at once: cosine 0.994, 0.972,
    0.981 and 0.947 for SqueezeNet 1.1, MobileNetV2, ResNet-50 and Inception v3. EMA follows one sample
    after the other: 0.969, 0.978, 0.970 and 0.878. KL ends with a segmentation fault.

    Args:
        samples: calibration.npz, with an array [n, *shape] for each input.

    Raises:
        Unsupported: an input is not float32.
    """
    for spec in inputs:
        if spec["dtype"] != "float32":
            # mnnquant writes the bits of floats to inputs of any type.
            raise Unsupported(
                f"mnnquant calibrates with floats only; the input {spec['name']} is {spec['dtype']}"
            )
    with np.load(samples) as arrays:
        columns = {spec["name"]: arrays[spec["name"]] for spec in inputs}
    count = min(len(column) for column in columns.values())
    shapes = [{"name": spec["name"], "shape": spec["shape"]} for spec in inputs]
    samples_folder = folder / "samples"
    for position in range(count):
        sample_folder = samples_folder / f"{position:04}"
        sample_folder.mkdir(parents=True)
        for name, column in columns.items():
            values = (f"{value:.9g}" for value in column[position].ravel().tolist())
            (sample_folder / f"{name}.txt").write_text(" ".join(values) + "\n", encoding="utf-8")
        (sample_folder / "input.json").write_text(json.dumps({"inputs": shapes}), encoding="utf-8")
    config = {
        "path": f"{samples_folder}/",
        "input_type": "sequence",
        "used_sample_num": count,
        "inputs": shapes,
        "feature_quantize_method": "ADMM",
        "weight_quantize_method": "MAX_ABS",
        "quant_bits": 8,
    }
    path = folder / "quantisation.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def quantised_operators(path: Path) -> int:
    """How many operators of a file compute on 8-bit numbers in a run of it."""
    import MNN

    interpreter = MNN.Interpreter(str(path))
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    kinds: list[str] = []

    def before(tensors: list[Any], info: Any) -> bool:
        kinds.append(info.getType())
        return True

    interpreter.runSessionWithCallBackInfo(session, before, lambda tensors, info: True)
    return sum("DT_INT8" in kind for kind in kinds)
