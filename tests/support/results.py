"""Results as an experiment writes them: through the experiment's own functions, without a device."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellfarm.base.cells import Cell
from cellfarm.base.digests import digest
from cellfarm.base.project import Project
from cellfarm.experiments.experiment import Experiment
from cellfarm.experiments.results import Result, summarise
from cellfarm.measures.hosts import Context
from cellfarm.measures.quality.verification import Comparison
from cellfarm.measures.tolerances import Tolerance
from cellfarm.planning.needs import Needs
from cellfarm.planning.plan import ExperimentStep, Plan, PlannedCell
from cellfarm.wanted.devices import AnyDevice, LocalDevice, SshAddress, SshDevice
from cellfarm.wanted.protocols import read_protocol
from msgspec import structs

from tests.support.protocols import COMMON, LATENCY, protocol_of

#: Two or three launches, and the starts of those.
PROTOCOL: dict[str, Any] = COMMON | {
    "measures": {
        "latency": LATENCY | {"launches": {"min": 2, "max": 3}},
        "cold_start": {"launches": 0, "warm": 2},
    },
}
TOLERANCE = Tolerance(min_cosine=0.999, max_relative_error=0.01, top1=True)
FACTS = {"cpu": "Test CPU", "cores": 2, "architecture": "x86_64", "kernel": "6.1"}
RIGHT = Comparison(cosine=1.0, max_abs_error=1e-6, max_relative_error=1e-6, top1_match=True)


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


def make_planned(cell: Cell | None = None, salt: str = "") -> PlannedCell:
    """A planned cell with keys of its own; another `salt` stands for changed causes."""
    cell = cell or make_cell()
    causes = dict.fromkeys(
        ("model", "exporter", "converter", "library", "measure", "device", "protocol"), f"d{salt}"
    ) | {"verification": "v"}
    measures = {
        measure: digest([cell.as_dict(), measure, salt]) for measure in PROTOCOL["measures"]
    }
    return PlannedCell(
        cell=cell,
        key=digest(measures),
        measures=measures,
        model="results/models/model/model-id",
        artifact="results/artifacts/artifact-id",
        needs=Needs("run", "convert"),
        stale=dict.fromkeys(measures, "no result yet"),
        causes=dict.fromkeys(measures, causes),
    )


def make_launch(warm_ms: Sequence[float] = (10.0, 10.5, 9.5), **changes: Any) -> dict[str, Any]:
    """The record of a launch that ended well, as `launch` returns it."""
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


def bad_launch(status: str = "failed", reason: str = "killed by SIGSEGV in phase load") -> Any:
    """The record of a launch that did not end well."""
    return make_launch(
        [], status=status, reason=reason, phases={"start": 20.0}, warmup_ms=[], resources={},
        comparison=None, log="Segmentation fault\n",
    )  # fmt: skip


def make_device(name: str) -> AnyDevice:
    """This machine, or a board that nobody has."""
    if name == "host":
        return LocalDevice(name, "work", ("cpu",))
    address = SshAddress("board.invalid", "user")
    return SshDevice(name=name, address=address, work_folder="/tmp/work", processors=("cpu",))


def make_plan(*cells: PlannedCell) -> Plan:
    """A frozen plan that measures cells of one model on one device, without steps before."""
    cell = cells[0].cell
    step = ExperimentStep(
        id=f"{cell.device}/{cell.model}",
        output=f"results/experiments/plan/{cell.device}/{cell.model}.json",
        device=cell.device,
        model=cell.model,
        cells=tuple(range(len(cells))),
    )
    return Plan(
        id="plan", current="current", attempt=0, protocol_name="quick",
        protocol=protocol_of(PROTOCOL), tolerances={cell.variant: TOLERANCE},
        precisions={cell.variant: "fp32"}, tools={}, runners={}, models={},
        devices={cell.device: make_device(cell.device)}, cells=cells,
        environment={}, download={}, model={}, derived={}, export={}, artifact={},
        experiment={step.id: step},
    )  # fmt: skip


def commit_result(
    project: Project, planned: PlannedCell, launches: Sequence[dict[str, Any]] | None = None
) -> Path:
    """Commit the results of a cell as an experiment does; returns the file of its latency."""
    taken = list(launches) if launches is not None else [make_launch(), make_launch()]
    plan = make_plan(planned)
    (step,) = plan.experiment.values()
    context = Context(planned.key, TOLERANCE)
    results = [
        summarise(measure, taken, settings, context)
        for measure, settings in plan.protocol.measures.items()
    ]
    with contextlib.redirect_stderr(io.StringIO()):
        experiment = Experiment(project, plan, step)
        experiment.commit(planned, results, FACTS, payload_bytes=1000, drift=None)
    return experiment.store.path(planned.cell, "latency", planned.measures["latency"])


def commit_planned(
    project: Project, planned: PlannedCell, status: str = "ok", reason: str | None = None
) -> None:
    """Commit a result, without numbers, of every stale measure of a cell of the quick protocol."""
    protocol = read_protocol(project.config / "protocols/quick.yaml")
    plan = structs.replace(make_plan(planned), protocol=protocol)
    (step,) = plan.experiment.values()
    results = [Result(measure, status, reason) for measure in planned.stale]
    with contextlib.redirect_stderr(io.StringIO()):
        Experiment(project, plan, step).commit(planned, results, FACTS)
