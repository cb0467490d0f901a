"""The launch that runs the held-out inputs: how far a variant's outputs are from the reference's."""

import time
from collections.abc import Callable
from typing import Any

import affinity  # type: ignore[import-not-found]
import phases  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Run held-out inputs one after the other and write their outputs; nothing here is timed.

    Request: artifact, inputs (.npz: [samples, *shape] for each input), outputs (.npz to write, with
    the samples along the first axis, too), processor, threads, model and cores as for a measurement,
    and quality ({"samples", "seconds"}). It stops early, after at least one sample, when `seconds` are
    over: the file then holds fewer samples.
    """
    import numpy

    emit("pinned", cores=affinity.pin(request["cores"]) if request["cores"] else None)
    session = phases.load(request, emit)
    emit("phase", name="quality")
    model, wanted = request["model"], request["quality"]
    inputs = phases.read_inputs(request["inputs"], model["inputs"])
    end_s = time.monotonic() + wanted["seconds"]
    found: list[list[Any]] = []
    for sample in zip(*inputs, strict=True):
        if len(found) >= wanted["samples"] or (found and time.monotonic() > end_s):
            break
        session.set_inputs(list(sample))
        session.invoke()
        # Copies: some libraries hand out memory that the next inference writes to.
        found.append([numpy.array(array) for array in session.get_outputs()])
    stacked = [numpy.stack(arrays) for arrays in zip(*found, strict=True)]
    phases.write_outputs(request["outputs"], model["outputs"], stacked)
    emit("outputs")
