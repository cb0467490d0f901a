"""Fill the working directory's farm with made-up models and artifacts for its cells.

A script, run with the farm's own copy of the package on the path (see benchmarks.simulated_farm). Planning
asks the devices, so they have to be there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cellfarm.base.project import Project
from cellfarm.base.records import Record, read_record, write_record
from cellfarm.conversion import workers
from cellfarm.envs.environments import READY, locate
from cellfarm.envs.targets import target_of
from cellfarm.planning.outlook import look
from cellfarm.wanted.configuration import load_file

HELD_OUT = 16
_INPUT: dict[str, Any] = {"name": "input", "shape": [1, 3, 8, 8], "dtype": "float32"}
_OUTPUT: dict[str, Any] = {"name": "logits", "shape": [1, 10], "dtype": "float32"}


def main() -> None:
    project = Project.here()
    outlook = look(project, load_file(project))
    for planned in outlook.cells:
        environment = locate(project, planned.needs.run)
        on_device = target_of(outlook.facts[planned.cell.device])
        if on_device is None or on_device.bundled:
            sys.exit("a board of this machine has no Python 3.11 or later of its own")
        if environment.state() is None:
            environment.packages.mkdir(parents=True)
            (environment.packages / "README").write_text("simulated\n", encoding="utf-8")
            write_record(environment.folder, Record("ok", None, seconds=0.0), READY)
        model, artifact = project.root / planned.model, project.root / planned.artifact
        if read_record(model) is None:
            _fill_model(model)
        if read_record(artifact) is None:
            _fill_artifact(artifact, artifact.name)


def _fill_model(folder: Path) -> None:
    out = _scratch(folder)
    description = {"inputs": [_INPUT], "outputs": [_OUTPUT], "parameters": 1, "flops": 1000}
    (out / "model.json").write_text(json.dumps(description), encoding="utf-8")
    (out / "model.pt2").write_bytes(b"simulated")
    np.savez(out / "inputs.npz", input=np.zeros(_INPUT["shape"], "float32"))
    np.savez(out / "heldout.npz", input=np.zeros((HELD_OUT, *_INPUT["shape"]), "float32"))
    np.savez(out / "reference.npz", logits=_logits(1)[0])
    np.savez(out / "heldout_reference.npz", logits=_logits(HELD_OUT))
    workers._commit(folder, Record("ok", None, seconds=0.0, peak_rss_mb=0.0), out)


def _fill_artifact(folder: Path, name: str) -> None:
    """Write the outputs that the sleeping runner returns, by mode."""
    out = _scratch(folder)
    (out / "model").write_text(name, encoding="utf-8")
    for mode in ("measure", "start", "cold"):
        np.savez(out / f"{mode}.npz", logits=_logits(1)[0])
    np.savez(out / "quality.npz", logits=_logits(HELD_OUT))
    workers._commit(folder, Record("ok", None, seconds=0.0, peak_rss_mb=0.0), out)


def _logits(samples: int) -> np.ndarray:
    shape = (samples, *_OUTPUT["shape"])
    return np.arange(1, 1 + np.prod(shape), dtype="float32").reshape(shape)


def _scratch(folder: Path) -> Path:
    out = folder.with_name(f".{folder.name}.filling")
    out.mkdir(parents=True)
    return out


if __name__ == "__main__":
    main()
