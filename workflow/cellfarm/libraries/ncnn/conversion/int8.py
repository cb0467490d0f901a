"""From an ncnn model in full precision to its 8-bit form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported  # type: ignore[import-not-found]

from . import calibration, graph
from .quantisation import SINCE, fuse_requantisation, needs_scale, quantisable, quantise


def make_int8(
    folder: Path, out: Path, samples_file: Path, inputs: Sequence[Mapping[str, Any]]
) -> None:
    """Write the 8-bit form of the model in `folder` to `out`.

    Args:
        samples_file: the calibration set, calibration.npz.
        inputs: ``name`` of each input, in the model's order.

    Raises:
        Unsupported: this version of ncnn runs no layer of the model in 8 bits.
    """
    layers = graph.read(folder)
    installed = int(version("ncnn").rsplit(".", 1)[1])
    chosen = [layer for layer in layers if quantisable(layer, installed)]
    if not chosen:
        later = sorted({layer.kind for layer in layers if SINCE.get(layer.kind, 0) > installed})
        reason = f"; {', '.join(later)} only since 1.0.{SINCE[later[0]]}" if later else ""
        raise Unsupported(f"ncnn {version('ncnn')} runs no layer of it in 8 bit{reason}")
    # All tops of a Split are copies of its bottom.
    original = {
        top: layer.bottoms[0] for layer in layers if layer.kind == "Split" for top in layer.tops
    }
    input_blobs = {layer.bottoms[0] for layer in chosen if needs_scale(layer)}
    blobs = list(dict.fromkeys(original.get(blob, blob) for blob in sorted(input_blobs)))
    scales: dict[str, float] = {}
    if blobs:
        samples = calibration.read_samples(samples_file, inputs)
        original_scales = calibration.input_scales(folder, blobs, samples)
        scales = {blob: original_scales[original.get(blob, blob)] for blob in input_blobs}
    for layer in chosen:
        quantise(layer, scales.get(layer.bottoms[0]))
    fuse_requantisation(layers, scales)
    graph.write(layers, out)
    kinds = sorted({layer.kind for layer in chosen})
    others = sorted({layer.kind for layer in layers if layer.data} - set(kinds))
    print(f"8 bit: {', '.join(kinds)}; full precision: {', '.join(others) or 'no weights'}")
