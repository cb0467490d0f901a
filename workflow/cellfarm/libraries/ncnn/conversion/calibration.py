"""From calibration samples to the scale of each quantised layer's input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import PARAM, WEIGHTS
from .quantisation import LEVELS

BINS = 2048
#: Thresholds to try, as shares of the largest magnitude.
SHARES = np.linspace(0.1, 1.0, 91)

Sample = Sequence[NDArray[Any]]


def read_samples(path: Path, inputs: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """The inputs of each calibration sample, in the model's order and with their batch axis."""
    with np.load(path) as arrays:
        columns = [arrays[spec["name"]] for spec in inputs]
    return [list(sample) for sample in zip(*columns, strict=True)]


def input_scales(folder: Path, blobs: Sequence[str], samples: Sequence[Sample]) -> dict[str, float]:
    """The scale of each blob: 127 over its threshold.

    Args:
        folder: the model in full precision.
        blobs: names of blobs.

    Values above the threshold are clipped; the lower it is, the finer are the steps below. The threshold
    with the least squared error over all samples is chosen. ncnn's own program keeps the histogram's shape
    (Kullback-Leibler), which clips far too much of normally distributed values.
    """
    largest = dict.fromkeys(blobs, 0.0)
    for name, values in _magnitudes(folder, blobs, samples):
        largest[name] = max(largest[name], float(values.max(initial=0.0)))
    histograms = {name: np.zeros(BINS, np.int64) for name in blobs}
    for name, values in _magnitudes(folder, blobs, samples):
        if largest[name] > 0:
            bins = (values * np.float32(BINS / largest[name])).astype(np.int32)
            np.minimum(bins, BINS - 1, out=bins)
            histograms[name] += np.bincount(bins, minlength=BINS)
    return {name: scale_of(histograms[name], largest[name]) for name in blobs}


def scale_of(histogram: NDArray[np.int64], largest: float) -> float:
    """The scale for magnitudes with this histogram, whose bins end at `largest`."""
    if largest == 0:
        return 1.0  # only zeros: any scale is right
    centres = (np.arange(len(histogram)) + 0.5) * (largest / len(histogram))
    errors = []
    for share in SHARES:
        step = share * largest / LEVELS
        rounded = np.minimum(np.rint(centres / step), LEVELS) * step
        errors.append(float(histogram @ (centres - rounded) ** 2))
    return float(LEVELS / (SHARES[int(np.argmin(errors))] * largest))


def _magnitudes(
    folder: Path, blobs: Sequence[str], samples: Sequence[Sample]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The magnitudes of every blob for every sample, as flat arrays."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1  # OpenMP's threads would wait for those of other conversions
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(folder / PARAM)) or net.load_model(str(folder / WEIGHTS)):
        raise RuntimeError("ncnn does not load the model that is to be calibrated")
    for sample in samples:
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # blobs must stay until they are extracted
        for position, array in enumerate(sample):
            dtype = np.int32 if array.dtype.kind in "iu" else np.float32
            mat = ncnn.Mat(np.ascontiguousarray(array[0], dtype=dtype)).clone()
            extractor.input(f"in{position}", mat)
        for name in blobs:
            status, mat = extractor.extract(name)
            if status != 0:
                raise RuntimeError(f"ncnn: extracting {name} failed with {status}")
            yield name, np.abs(np.array(mat)).ravel()
