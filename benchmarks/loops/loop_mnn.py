"""Latency of a model in MNN: a plain loop (see README.md)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import MNN  # type: ignore[import-not-found]
import numpy as np


def main(artifact: str, model: str, threads: str, warmup: str, samples: str, report: str) -> None:
    interpreter = MNN.Interpreter(str(Path(artifact, "model.mnn")))
    session = interpreter.createSession(
        {"backend": "CPU", "numThread": int(threads), "precision": "high"}
    )
    names = [entry["name"] for entry in json.loads(Path(model, "model.json").read_text())["inputs"]]
    pairs, arrays = [], []
    with np.load(Path(model, "inputs.npz")) as stored:
        for name in names:
            is_integer = stored[name].dtype.kind == "i"  # MNN's integers have 32 bits
            array = stored[name].astype(np.int32 if is_integer else np.float32)
            kind = MNN.Halide_Type_Int if is_integer else MNN.Halide_Type_Float
            host = MNN.Tensor(array.shape, kind, array, MNN.Tensor_DimensionType_Caffe)
            arrays.append(array)  # the tensor refers to its memory
            pairs.append((interpreter.getSessionInput(session, name), host))

    def run() -> None:
        # As MNN's own benchmark does: an inference uses the inputs' memory for other things.
        for target, host in pairs:
            target.copyFrom(host)
        interpreter.runSession(session)

    for _ in range(int(warmup)):
        run()
    ms = []
    for _ in range(int(samples)):
        began = time.perf_counter()
        run()
        ms.append((time.perf_counter() - began) * 1e3)
    Path(report).write_text(json.dumps({"ms": ms}))


if __name__ == "__main__":
    main(*sys.argv[1:])
