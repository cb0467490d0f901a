"""Latency of a program in ExecuTorch: a plain loop (see README.md)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found]
from executorch.extension.pybindings import portable_lib  # type: ignore[import-not-found]


def main(artifact: str, model: str, threads: str, warmup: str, samples: str, report: str) -> None:
    portable_lib._unsafe_reset_threadpool(int(threads))
    program = portable_lib._load_for_executorch(str(Path(artifact, "model.pte")))
    names = [entry["name"] for entry in json.loads(Path(model, "model.json").read_text())["inputs"]]
    with np.load(Path(model, "inputs.npz")) as stored:
        tensors = [torch.from_numpy(stored[name]) for name in names]
    for _ in range(int(warmup)):
        program.forward(tensors)
    ms = []
    for _ in range(int(samples)):
        began = time.perf_counter()
        program.forward(tensors)
        ms.append((time.perf_counter() - began) * 1e3)
    Path(report).write_text(json.dumps({"ms": ms}))


if __name__ == "__main__":
    main(*sys.argv[1:])
