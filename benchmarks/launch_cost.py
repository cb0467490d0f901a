"""What a launch costs the host besides the runner's own time.

The measuring loop of a real experiment (cellfarm.experiments.experiment, from its first round to
the commit of its last cell) over a back end that sleeps 5 ms an inference, with the protocol
`quick` and a target that is never reached, so that every cell takes its 10 launches and its interval
is worked out after each. Two cells, so that rounds are interleaved.

Counted: the wall time of that loop, less the time in which a runner was at work. A runner is at
work from the moment its process exists (the fork and exec are the host's) until the host has read
its last event. So its interpreter's start is the runner's own, and is shown; its end, which the host
waits for, is counted. Baseline from the same run: starting and reaping /bin/true by subprocess.run.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from cellfarm.configuration import read_protocol
from cellfarm.core.cells import Cell
from cellfarm.core.digests import digest
from cellfarm.devices import open_device
from cellfarm.experiments.experiment import Experiment, Running
from cellfarm.experiments.journal import Journal
from cellfarm.experiments.launch import Deployed
from cellfarm.experiments.payload import pack
from cellfarm.locking import file_lock, machine_lock_path
from cellfarm.plan import PlannedCell
from cellfarm.project import Project

from .figures import REPOSITORY, Baseline, Figure, NotMeasurable, Options, shown
from .watching import LaunchTimes, WatchingTransport

TARGET_MS = 60.0
MODEL, DEVICE = "trivial", "host"
CELLS = 2
INPUT: dict[str, Any] = {"name": "input", "shape": [1, 3, 224, 224], "dtype": "float32"}
OUTPUT: dict[str, Any] = {"name": "output", "shape": [1, 1000], "dtype": "float32"}


def measure(options: Options) -> list[Figure]:
    protocol = dict(read_protocol(Project(REPOSITORY), "quick", "benchmarks"))
    protocol["target_half_width"] = 1e-9
    if options.quick:
        protocol |= {
            "launches": {"min": 1, "max": 3},
            "samples": {"min": 3, "max": 3, "seconds": 0},
        }
    if options.runs:
        protocol["launches"] = {"min": min(4, options.runs), "max": options.runs}
    with tempfile.TemporaryDirectory(prefix="cellfarm-launch-") as folder:
        experiment = _experiment(Project(Path(folder)), protocol)
        transport = WatchingTransport(open_device({"work_folder": "work"}, Path(folder)))
        transport.prepare()
        with file_lock(machine_lock_path("host"), on_wait=_waiting) as lock:
            began = time.monotonic_ns()
            with contextlib.redirect_stderr(io.StringIO()):
                experiment._measure(transport, _deploy(experiment, transport), {}, lock)
            ended = time.monotonic_ns()
            bare_ms = [_bare_spawn_ms() for _ in range(len(transport.launches))]
        _check(experiment)
    return [_figure(transport.launches, began, ended, bare_ms)]


def _experiment(project: Project, protocol: dict[str, Any]) -> Experiment:
    cells = [
        Cell(MODEL, "trivial", "0", "fp32", DEVICE, "cpu", threads)
        for threads in range(1, CELLS + 1)
    ]
    planned = [PlannedCell(cell, digest(cell.as_dict()), {}, "0", "0", None) for cell in cells]
    plan = {
        "id": "benchmark",
        "protocol_name": "quick",
        "protocol": protocol,
        "tolerances": {"fp32": {"min_cosine": 0.999, "max_relative_error": 0.01, "top1": True}},
        "devices": {DEVICE: {}},
        "models": {MODEL: {"task": "classification"}},
        "cells": [one.as_dict() for one in planned],
    }
    return Experiment(project, plan, DEVICE, MODEL)


def _deploy(experiment: Experiment, transport: WatchingTransport) -> dict[str, Running]:
    root = experiment.project.root
    payload = pack(Path(__file__).with_name("trivial_backend.py"), root / "payloads")
    np.savez(root / "inputs.npz", input=np.zeros(INPUT["shape"], dtype="float32"))
    transport.put(payload, "payload.pyz")
    transport.put(root / "inputs.npz", "inputs.npz")
    (root / "work" / "artifact").mkdir()
    deployed = Deployed(
        python=Path(sys.executable),
        payload="payload.pyz",
        artifact="artifact",
        inputs="inputs.npz",
        description={"inputs": [INPUT], "outputs": [OUTPUT]},
        reference={"output": np.ones(OUTPUT["shape"], dtype="float32")},
        classes=True,
        variables={},
    )
    return {
        one.key: Running(one, deployed, Journal(experiment.project.journal(DEVICE, one.key)), [])
        for one in experiment.cells
    }


def _figure(
    launches: Sequence[LaunchTimes], began_ns: int, ended_ns: int, bare_ms: list[float]
) -> Figure:
    at_work_ns = sum(one.ended - one.spawned for one in launches)
    cost_ms = ((ended_ns - began_ns) - at_work_ns) / 1e6 / len(launches)
    spawn_ms = [(one.spawned - one.called) / 1e6 for one in launches]
    reap_ms = [(one.returned - one.ended) / 1e6 for one in launches]
    start_ms = [(one.first - one.spawned) / 1e6 for one in launches]
    rest_ms = cost_ms - mean(spawn_ms) - mean(reap_ms)
    return Figure(
        what=f"host's own time per launch (mean of {len(launches)} launches)",
        value=cost_ms,
        unit="ms",
        target=TARGET_MS,
        baselines=[Baseline("/bin/true by subprocess.run", median(bare_ms), "ms")],
        details={
            "of it, making the process": f"{shown(mean(spawn_ms))} ms (at most {shown(max(spawn_ms))})",
            "of it, its end and reaping": f"{shown(mean(reap_ms))} ms (at most {shown(max(reap_ms))})",
            "of it, output check, journal, statistics, commits": f"{shown(rest_ms)} ms",
            "not counted, the runner at work": f"{shown(at_work_ns / 1e6 / len(launches))} ms",
            "of that, its interpreter's start": f"{shown(mean(start_ms))} ms",
        },
    )


def _check(experiment: Experiment) -> None:
    for planned in experiment.cells:
        header = experiment.store.header(planned.cell, planned.key)
        if header["status"] != "ok":
            raise NotMeasurable(f"the trivial back end gave {header['status']}: {header['reason']}")


def _bare_spawn_ms() -> float:
    began = time.monotonic_ns()
    subprocess.run(["/bin/true"], check=True)
    return (time.monotonic_ns() - began) / 1e6


def _waiting(who: str) -> None:
    print(f"  waiting for this machine, being measured by {who}", flush=True)
