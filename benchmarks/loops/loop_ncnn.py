"""Latency of a model in ncnn: a plain loop (see README.md)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import ncnn  # type: ignore[import-not-found]
import numpy as np


def main(artifact: str, model: str, threads: str, warmup: str, samples: str, report: str) -> None:
    net = ncnn.Net()
    net.opt.num_threads = int(threads)
    net.opt.use_vulkan_compute = False
    # Full precision: ncnn stores and computes in half precision where it can.
    net.opt.use_fp16_packed = False
    net.opt.use_fp16_storage = False
    net.opt.use_fp16_arithmetic = False
    net.load_param(str(Path(artifact, "model.ncnn.param")))
    net.load_model(str(Path(artifact, "model.ncnn.bin")))
    names = [entry["name"] for entry in json.loads(Path(model, "model.json").read_text())["inputs"]]
    with np.load(Path(model, "inputs.npz")) as stored:
        arrays = [stored[name][0] for name in names]
    # ncnn has no 64-bit integers.
    kinds = [np.int32 if array.dtype.kind == "i" else np.float32 for array in arrays]
    mats = [ncnn.Mat(array.astype(kind)).clone() for array, kind in zip(arrays, kinds, strict=True)]
    outputs = net.output_names()

    def run() -> None:
        extractor = net.create_extractor()
        for name, mat in zip(net.input_names(), mats, strict=True):
            extractor.input(name, mat)
        for name in outputs:
            extractor.extract(name)

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
