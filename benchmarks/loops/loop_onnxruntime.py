"""Latency of an ONNX model in ONNX Runtime: a plain loop (see README.md)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-not-found]


def main(artifact: str, model: str, threads: str, warmup: str, samples: str, report: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(Path(artifact, "model.onnx")), options, providers=["CPUExecutionProvider"]
    )
    with np.load(Path(model, "inputs.npz")) as stored:
        feed = {node.name: stored[node.name] for node in session.get_inputs()}
    for _ in range(int(warmup)):
        session.run(None, feed)
    ms = []
    for _ in range(int(samples)):
        began = time.perf_counter()
        session.run(None, feed)
        ms.append((time.perf_counter() - began) * 1e3)
    Path(report).write_text(json.dumps({"ms": ms}))


if __name__ == "__main__":
    main(*sys.argv[1:])
