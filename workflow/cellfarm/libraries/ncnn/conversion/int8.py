"""A model of ncnn in full precision, made into its 8-bit form."""

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
        Unsupported: there is nothing in the model that this version of ncnn runs in 8 bit.
    """
    layers = graph.read(folder)
    installed = int(version("ncnn").rsplit(".", 1)[1])
    chosen = [layer for layer in layers if quantisable(layer, installed)]
    if not chosen:
        later = sorted({one.kind for one in layers if SINCE.get(one.kind, 0) > installed})
        reason = f"; {', '.join(later)} only since 1.0.{SINCE[later[0]]}" if later else ""
        raise Unsupported(f"ncnn {version('ncnn')} runs no layer of it in 8 bit{reason}")
    # All tops of a Split hold what it is given.
    original = {
        top: layer.bottoms[0] for layer in layers if layer.kind == "Split" for top in layer.tops
    }
    read = {layer.bottoms[0] for layer in chosen if needs_scale(layer)}
    blobs = list(dict.fromkeys(original.get(blob, blob) for blob in sorted(read)))
    scales: dict[str, float] = {}
    if blobs:
        samples = calibration.read_samples(samples_file, inputs)
        found = calibration.input_scales(folder, blobs, samples)
        scales = {blob: found[original.get(blob, blob)] for blob in read}
    for layer in chosen:
        quantise(layer, scales.get(layer.bottoms[0]))
    fuse_requantisation(layers, scales)
    graph.write(layers, out)
    kinds = sorted({layer.kind for layer in chosen})
    left = sorted({layer.kind for layer in layers if layer.data} - set(kinds))
    print(f"8 bit: {', '.join(kinds)}; full precision: {', '.join(left) or 'no weights'}")
