"""The launch that runs the held-out inputs, whose outputs are compared with the reference's."""

import time
from collections.abc import Callable
from typing import Any

import phases  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Run held-out inputs one after the other and write their outputs; nothing is timed.

    Request: artifact, inputs (.npz: [samples, *shape] for each input), outputs (.npz to write, with
    the samples along the first axis), processor, threads, model and cores as for a measurement,
    and quality ({"samples", "seconds"}). After `seconds` it stops early, with at least one
    sample: the file then holds fewer samples.
    """
    import numpy

    phases.pin(request, emit)
    session = phases.load(request, emit)
    emit("phase", name="quality")
    model, settings = request["model"], request["quality"]
    inputs = phases.read_inputs(request["inputs"], model["inputs"])
    end_s = time.monotonic() + settings["seconds"]
    outputs: list[list[Any]] = []
    for sample in zip(*inputs, strict=True):
        if len(outputs) >= settings["samples"] or (outputs and time.monotonic() > end_s):
            break
        session.set_inputs(list(sample))
        session.invoke()
        # Copied: some libraries return memory that the next inference overwrites.
        outputs.append([numpy.array(array) for array in session.get_outputs()])
    stacked = [numpy.stack(arrays) for arrays in zip(*outputs, strict=True)]
    phases.write_outputs(request["outputs"], model["outputs"], stacked)
    emit("outputs")
