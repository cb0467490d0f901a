"""The launch that times a model's operators: a process of its own, so no latency ever sees it.

A library's folder has a module `profiler`, packed beside `backend`, with one function:

    profile(artifact, *, processor, threads, inputs, outputs, arrays, runs, scratch) -> {
        "runs": [[{"name", "type", "node", "ms"}, ...], ...],
        "total_ms": [...],
        "method": "..."}

The arguments up to `outputs` are those of `backend.Session`. `arrays` are the inputs in the model's
order, `runs` is how many inferences to make, one after the other, and `scratch` an empty folder
that is removed afterwards. Of each run it returns the operators as they were executed, and the
wall time of the whole inference. `type` is the library's own word; `node` names the node of the
graph that was converted, or a tensor that it computes, and is None where the library kept none.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import affinity  # type: ignore[import-not-found]
import phases  # type: ignore[import-not-found]

#: Inferences before the first that counts: cold caches, and what libraries prepare on first use.
UNRECORDED_RUNS = 5


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Import the library and profile its operators; report them as one event `operators`.

    The event holds operators (a list of {"name", "type", "node", "ms": one per run}, in the order of
    execution), total_ms (wall time of each run) and method. Medians are left to the host.

    Request: artifact, inputs, processor, threads, model and cores as for a measurement, outputs (here
    the name of a folder for files that come and go), and profile ({"runs"}).

    Raises:
        RuntimeError: the operators differ from run to run, so that they cannot be told apart.
    """
    import profiler  # type: ignore[import-not-found]

    emit("pinned", cores=affinity.pin(request["cores"]) if request["cores"] else None)
    phases.import_library(emit)
    emit("phase", name="profile")
    model = request["model"]
    arrays = phases.read_inputs(request["inputs"], model["inputs"])
    # The host removes what is named so, even after it had to kill this process.
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
        operators=_side_by_side(profile["runs"][UNRECORDED_RUNS:]),
        total_ms=profile["total_ms"][UNRECORDED_RUNS:],
        method=profile["method"],
    )


def _side_by_side(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One entry per operator with its times in all runs, from one list of operators per run."""
    if not runs or not runs[0]:
        raise RuntimeError("the library's profiler reported no operators")
    kinds = [(one["name"], one["type"], one["node"]) for one in runs[0]]
    for other in runs[1:]:
        if [(one["name"], one["type"], one["node"]) for one in other] != kinds:
            raise RuntimeError("the operators differ from run to run")
    return [
        {"name": name, "type": kind, "node": node, "ms": [one[position]["ms"] for one in runs]}
        for position, (name, kind, node) in enumerate(kinds)
    ]
