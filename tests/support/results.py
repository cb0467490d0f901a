"""Writes results through the experiment's own functions, without a device."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cellfarm.base.cells import Cell
from cellfarm.base.digests import digest
from cellfarm.base.project import Project
from cellfarm.devices import Transport
from cellfarm.experiments.deployed import Deployed
from cellfarm.experiments.experiment import Experiment
from cellfarm.experiments.journal import Journal
from cellfarm.experiments.measuring import Measuring
from cellfarm.experiments.patience import Patience
from cellfarm.experiments.running_cell import Running
from cellfarm.experiments.summarising import Result
from cellfarm.measures.launches import of_mode
from cellfarm.measures.quality.comparison import Comparison, Quality
from cellfarm.measures.tolerances import Tolerance
from cellfarm.planning import keys
from cellfarm.planning.needs import Needs
from cellfarm.planning.plan import ExperimentStep, Plan, PlannedCell
from cellfarm.wanted.devices import AnyDevice, LocalDevice, parse_device

from tests.support.protocols import protocol_of, with_measures

#: Two or three measuring launches; everything else is minimal.
PROTOCOL: dict[str, Any] = with_measures(
    latency={"launches": {"min": 2, "max": 3}}, operators={"runs": 2}
)
TOLERANCE = Tolerance(min_cosine=0.999, max_relative_error=0.01, top1=True)
FACTS = {"cpu": "Test CPU", "cores": 2, "architecture": "x86_64", "kernel": "6.1"}
RIGHT = Comparison(cosine=1.0, max_abs_error=1e-6, max_relative_error=1e-6, top1_match=True)
AGREEING = Quality(samples=2, cosine=1.0, sqnr_db=100.0, top1_agreement=1.0)


def make_cell(**changes: Any) -> Cell:
    values: dict[str, Any] = {
        "model": "squeezenet1_1",
        "library": "ncnn",
        "library_version": "1.0",
        "variant": "fp32",
        "device": "host",
        "processor": "cpu",
        "threads": 1,
    }
    return Cell(**values | changes)


def make_planned(
    cell: Cell | None = None,
    salt: str = "",
    measures: Iterable[str] = ("latency", "cold_start"),
) -> PlannedCell:
    """A planned cell without results and with its own keys; another `salt` stands for changed causes."""
    cell = cell or make_cell()
    names = list(measures)
    causes = dict.fromkeys(
        ("model", "exporter", "converter", "library", "measure", "device", "protocol"), f"d{salt}"
    ) | {"verification": "v"}
    results = {name: keys.result_key(cell.folder, name, digest([causes, salt])) for name in names}
    return PlannedCell(
        cell=cell,
        key=keys.cell_key(results),
        measures=results,
        model=f"results/models/{cell.model}/model-id",
        artifact=f"results/artifacts/{cell.versioned_library}/{cell.model}/{cell.variant}/artifact-id",
        needs=Needs(
            run=f"{cell.versioned_library}.run", convert=f"{cell.versioned_library}.convert"
        ),
        stale=dict.fromkeys(names, "no result yet"),
        causes=dict.fromkeys(names, causes),
    )


def make_device(name: str = "host", **document: Any) -> AnyDevice:
    """A device's description: this machine, or the device of `document`."""
    if not document:
        return LocalDevice(name, "results/work/host", ("cpu",))
    return parse_device({"name": name, "processors": ["cpu"], **document}, f"{name}.yaml")


def make_plan(*cells: PlannedCell, **changes: Any) -> Plan:
    """A frozen plan of cells whose only steps are an experiment for each model and device."""
    positions: dict[tuple[str, str], list[int]] = {}
    for number, planned in enumerate(cells):
        positions.setdefault((planned.cell.device, planned.cell.model), []).append(number)
    steps = {
        f"{device}/{model}": ExperimentStep(
            id=f"{device}/{model}",
            output=f"results/experiments/plan/{device}/{model}.json",
            device=device,
            model=model,
            cells=tuple(numbers),
        )
        for (device, model), numbers in positions.items()
    }
    values: dict[str, Any] = {
        "id": "plan",
        "current": "current",
        "attempt": 0,
        "protocol_name": "quick",
        "protocol": protocol_of(PROTOCOL),
        "tolerances": {planned.cell.variant: TOLERANCE for planned in cells},
        "precisions": {planned.cell.variant: "fp32" for planned in cells},
        "devices": {device: make_device(device) for device, _ in positions},
        "cells": cells,
        "experiment": steps,
        **{name: {} for name in ("tools", "runners", "models", "environment", "download",
                                 "model", "derived", "export", "artifact")},
    }  # fmt: skip
    return Plan(**values | changes)


def make_experiment(project: Project, plan: Plan) -> Experiment:
    """The only experiment of a plan."""
    (step,) = plan.experiment.values()
    with contextlib.redirect_stderr(io.StringIO()):
        return Experiment(project, plan, step)


def make_launch(warm_ms: Sequence[float] = (10.0, 10.5, 9.5), **changes: Any) -> dict[str, Any]:
    """The record of a successful launch, as `launch` returns it."""
    record: dict[str, Any] = {
        "round": 0,
        "session": "5e55104b5e55104b",
        "mode": "measure",
        "status": "ok",
        "reason": None,
        "phases": {"start": 20.0, "import": 30.0, "read": 5.0, "load": 40.0, "first": 15.0},
        "warmup_ms": [11.0],
        "warm_ms": list(warm_ms),
        "steady": "warm-up",
        "resources": {"cpu_utilisation": 0.99, "other_cpu_utilisation": 0.01, "steal": 0.0,
                      "load_rss_mb": 90.0, "peak_load_rss_mb": 100.0, "peak_was_reset": 1.0,
                      "peak_inference_rss_mb": 120.5},
        "gate": {"exceeded": [], "calibration": {"compute_ms": 8.0, "memory_ms": 5.0},
                 "other_cpu_cores": 0.01, "waited_s": 0.0},
        "library_version": "1.0",
        "actual": {"threads": 1},
        "started_at": 1_700_000_000.0,
        "comparison": RIGHT.as_dict(),
    }  # fmt: skip
    return record | changes


def quality_launch(quality: Quality = AGREEING, **changes: Any) -> dict[str, Any]:
    """The record of a launch that ran the held-out inputs."""
    launch = make_launch([], mode="quality", warmup_ms=[], quality=quality.as_dict(), **changes)
    del launch["comparison"]
    return launch


def bad_launch(status: str = "failed", reason: str = "killed by SIGSEGV in phase load") -> Any:
    """The record of a launch that failed."""
    return make_launch(
        [], status=status, reason=reason, phases={"start": 20.0}, warmup_ms=[], resources={},
        comparison=None, log="Segmentation fault\n",
    )  # fmt: skip


def commit_result(
    project: Project, planned: PlannedCell, launches: Sequence[dict[str, Any]] | None = None
) -> Path:
    """Commit the results of a cell's stale measures as an experiment does; returns the first one's file.

    Args:
        launches: a launch with the held-out inputs follows if that measure is stale.
    """
    own_launches = list(launches) if launches is not None else [make_launch(), make_launch()]
    if "quality" in planned.stale and not of_mode(own_launches, "quality"):
        own_launches.append(quality_launch())
    experiment = make_experiment(project, make_plan(planned))
    measuring = Measuring(experiment, cast(Transport, None), FACTS, 0, Patience(0, print))
    deployed = cast(Deployed, SimpleNamespace(payload_bytes=1000))
    journal = Journal(project.journal(planned.cell.device, planned.key))
    with contextlib.redirect_stderr(io.StringIO()):
        measuring._commit(Running(planned, deployed, None, journal, own_launches))
    measure = next(iter(planned.stale))
    return experiment.store.path(planned.cell, measure, planned.measures[measure])


def commit_planned(
    project: Project, planned: PlannedCell, status: str = "ok", reason: str | None = None
) -> None:
    """Commit a result, without numbers, of every stale measure of a cell."""
    results = [Result(measure, status, reason) for measure in planned.stale]
    make_experiment(project, make_plan(planned)).commit(planned, results, FACTS)
