"""The launch that runs labelled pictures: the top classes of each."""

from collections.abc import Callable
from typing import Any

import phases  # type: ignore[import-not-found]
import pictures  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Run all pictures one after the other and write the top classes of each; nothing is timed.

    Request: artifact, inputs (.npy: uint8 [pictures, height, width, 3]), outputs (.npz to write, with
    `top` [pictures, at most 5]), processor, threads, model and cores as for a measurement, and
    pictures (see pictures.prepare).
    """
    import numpy

    phases.pin(request, emit)
    session = phases.load(request, emit)
    emit("phase", name="accuracy")
    top = []
    # Mapped: thousands of pictures may not fit into a device's memory.
    for pixels in numpy.load(request["inputs"], mmap_mode="r", allow_pickle=False):
        session.set_inputs([pictures.prepare(pixels, request["pictures"])])
        session.invoke()
        # The first output holds the classes (see cellfarm.models.labelled).
        top.append(pictures.top_classes(session.get_outputs()[0]))
    numpy.savez(request["outputs"], top=numpy.stack(top))
    emit("outputs")
