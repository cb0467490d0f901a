"""The launch that times a model's operators, in a separate process, so that it disturbs no latency.

A library's folder has a module `profiler`, packed beside `backend`, with one function:

    profile(artifact, *, processor, threads, inputs, outputs, arrays, runs, scratch) -> {
        "runs": [[{"name", "type", "node", "ms"}, ...], ...],
        "total_ms": [...],
        "method": "..."}

The arguments up to `outputs` are those of `backend.Session`. `arrays` are the inputs in the model's
order, `runs` is the number of inferences, one after the other, and `scratch` an empty folder that is
removed afterwards. It returns the operators of each run in the order of execution, and the wall time
of the whole inference. `type` is the library's word; `node` names the node of the converted graph, or
a tensor that it computes, and is None where the library kept no name.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import phases  # type: ignore[import-not-found]

#: Inferences before the first that counts, for caches and what libraries prepare on first use.
UNRECORDED_RUNS = 5


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Import the library, profile its operators, and emit the event `operators`.

    The event holds operators (a list of {"name", "type", "node", "ms": one per run}, in the order of
    execution), total_ms (wall time of each run) and method. The host takes medians.

    Request: artifact, inputs, processor, threads, model and cores as for a measurement, outputs (here
    the name of a folder for temporary files), and profile ({"runs"}).

    Raises:
        RuntimeError: the operators differ from run to run.
    """
    import profiler  # type: ignore[import-not-found]

    phases.pin(request, emit)
    phases.import_library(emit)
    emit("phase", name="profile")
    model = request["model"]
    arrays = phases.read_inputs(request["inputs"], model["inputs"])
    # The host removes a file or folder of this name, even after it had to kill this process.
    scratch = request["outputs"]
    Path(scratch).mkdir(exist_ok=True)
    try:
        profile = profiler.profile(
            request["artifact"],
            processor=request["processor"],
            threads=request["threads"],
            inputs=model["inputs"],
            outputs=model["outputs"],
            arrays=arrays,
            runs=UNRECORDED_RUNS + request["profile"]["runs"],
            scratch=scratch,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    emit(
        "operators",
        operators=_by_operator(profile["runs"][UNRECORDED_RUNS:]),
        total_ms=profile["total_ms"][UNRECORDED_RUNS:],
        method=profile["method"],
    )


def _by_operator(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """An entry per operator with its times in all runs, from a list of operators per run."""
    if not runs or not runs[0]:
        raise RuntimeError("the library's profiler reported no operators")
    keys = ("name", "type", "node")
    identities = [[[operator[key] for key in keys] for operator in run] for run in runs]
    if any(identity != identities[0] for identity in identities):
        raise RuntimeError("the operators differ from run to run")
    return [
        {**{key: operator[key] for key in keys}, "ms": [run[position]["ms"] for run in runs]}
        for position, operator in enumerate(runs[0])
    ]
