"""Operators on the HTP, from the detailed profile that the plugin writes when its session goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]
import qnn_profile  # type: ignore[import-not-found]


def profile(
    artifact: str,
    *,
    processor: str,
    threads: int,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    arrays: list[Any],
    runs: int,
    scratch: str,
) -> dict[str, Any]:
    """Operators of `runs` inferences; see `profiling` for what is taken and returned.

    Raises:
        RuntimeError: as `backend.Session`; ValueError: the profile is not whole.
    """
    path = Path(scratch) / "profile.csv"
    session = backend.Session(
        artifact,
        processor=processor,
        threads=threads,
        inputs=inputs,
        outputs=outputs,
        options={"profiling_level": "detailed", "profiling_file_path": str(path)},
    )
    session.set_inputs(arrays)
    for _ in range(runs):
        session.invoke()
    session.close()
    found = qnn_profile.read_runs(path.read_text(encoding="utf-8"))
    if len(found) != runs:
        raise RuntimeError(f"qnn: {len(found)} executions in the profile of {runs}")
    nodes = json.loads((Path(artifact) / "nodes.json").read_text(encoding="utf-8"))
    return {
        "runs": [qnn_profile.operators_of(run, nodes) for run in found],
        "total_ms": [run["accelerator_us"] / 1e3 for run in found],
        "method": qnn_profile.METHOD,
    }
