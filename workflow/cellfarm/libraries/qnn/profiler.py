"""Operators on the HTP, from the detailed profile that the plugin writes at the end of a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]
import qnn_profile  # type: ignore[import-not-found]


def profile(
    artifact: str,
    *,
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    Raises:
        RuntimeError: as `backend.Session`, or the profile does not hold `runs` runs.
        ValueError: the profile is incomplete.
    """
    path = Path(scratch) / "profile.csv"
    options = {"profiling_level": "detailed", "profiling_file_path": str(path)}
    session = backend.Session(artifact, options=options, **settings)
    session.set_inputs(arrays)
    for _ in range(runs):
        session.invoke()
    session.close()
    executions = qnn_profile.read_runs(path.read_text(encoding="utf-8"))
    if len(executions) != runs:
        raise RuntimeError(f"qnn: {len(executions)} executions in the profile of {runs}")
    nodes = json.loads((Path(artifact) / "nodes.json").read_text(encoding="utf-8"))
    return {
        "runs": [qnn_profile.operators_of(run, nodes) for run in executions],
        "total_ms": [run["accelerator_us"] / 1e3 for run in executions],
        "method": qnn_profile.METHOD,
    }
