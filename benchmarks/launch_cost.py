"""What a launch costs the host besides the runner's own time.

The measuring loop of a real experiment (cellfarm.experiments.measuring, from its first round to
the commit of its last cell) over a back end that sleeps 5 ms an inference, with the protocol
`quick` and a target that is never reached, so that every cell takes its 10 launches and its interval
is worked out after each. Two cells, so that rounds are interleaved; no cold starts, no profiles.
Every launch has its gate before it, which is a runner too and waits for nothing here.

Counted: the wall time of that loop, less the time in which a runner was at work, for each measuring
launch: the host's work for its gate is in it, and so is a share of the readings with which an
experiment begins. A runner is at work from the moment its process exists (the fork and exec are the
host's) until the host has read its last event. So its interpreter's start is the runner's own, and
is shown; its end, which the host waits for, is counted. Baseline from the same run: starting and
reaping /bin/true by subprocess.run.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from cellfarm.base.cells import Cell
from cellfarm.base.digests import digest
from cellfarm.base.locking import file_lock, machine_lock_path
from cellfarm.base.project import Project
from cellfarm.devices import Interpreter, Transport, open_device
from cellfarm.experiments.deployed import Deployed
from cellfarm.experiments.experiment import Experiment
from cellfarm.experiments.host_share import HostShare
from cellfarm.experiments.journal import Journal
from cellfarm.experiments.measuring import Measuring
from cellfarm.experiments.patience import Patience
from cellfarm.experiments.payload import pack
from cellfarm.experiments.running_cell import Running
from cellfarm.libraries import all_libraries
from cellfarm.measures.tolerances import Tolerance
from cellfarm.planning.causes import payload_code
from cellfarm.planning.needs import Needs
from cellfarm.planning.plan import ExperimentStep, Plan, PlannedCell
from cellfarm.wanted.devices import LocalDevice
from cellfarm.wanted.protocols import Protocol
from msgspec import structs

from .figures import REPOSITORY, Baseline, Figure, NotMeasurable, Options, shown
from .lab import LATENCY_ONLY, changed_protocol
from .processes import report_wait
from .watching import LaunchTimes, WatchingTransport

TARGET_MS = 60.0
MODEL, DEVICE = "trivial", "host"
BACKEND = Path(__file__).with_name("trivial_backend.py")
CELLS = 2
INPUT: dict[str, Any] = {"name": "input", "shape": [1, 3, 224, 224], "dtype": "float32"}
OUTPUT: dict[str, Any] = {"name": "output", "shape": [1, 1000], "dtype": "float32"}


#: Gates without limits: they never wait.
NO_LIMITS = dict.fromkeys(
    ("other_cpu_cores", "slowdown", "temperature_rise_c", "temperature_change_c", "battery_percent")
)


def measure(options: Options) -> list[Figure]:
    latency: dict[str, Any] = {"target_half_width": 1e-9, "launches": {"min": 4, "max": 10}}
    if options.quick:
        latency |= {
            "launches": {"min": 2, "max": 3},
            "samples": {"min": 3, "max": 3, "seconds": 0},
        }
    if options.runs:
        latency["launches"] = {"min": min(4, options.runs), "max": options.runs}
    gates = {"wait_s": 0, "budget_s": 0} | NO_LIMITS
    own_project = Project(REPOSITORY)
    protocol = changed_protocol(own_project, "quick", LATENCY_ONLY, latency, gates=gates)
    with tempfile.TemporaryDirectory(prefix="cellfarm-launch-") as folder:
        experiment = _experiment(Project(Path(folder)), protocol)
        transport = WatchingTransport(
            open_device(LocalDevice(DEVICE, "work", ("cpu",)), Project(Path(folder)))
        )
        transport.prepare()
        facts = transport.facts()
        with file_lock(machine_lock_path("host"), on_wait=report_wait) as lock:
            patience = Patience(0, print)
            measuring = _Trivial(experiment, transport, facts, lock, patience)
            began = time.monotonic_ns()
            with contextlib.redirect_stderr(io.StringIO()):
                measuring.deploy_all(HostShare(False, print))
                measuring.run()
            ended = time.monotonic_ns()
            bare_ms = [_bare_spawn_ms() for _ in range(len(transport.launches))]
        _check(experiment)
    return [_figure(transport.launches, began, ended, bare_ms)]


class _Trivial(Measuring):
    """The measuring loop with a trivial back end."""

    def deploy_all(self, share: HostShare) -> None:
        experiment = self.experiment
        deployed = _deploy(experiment.project.root, self.setting.transport)
        for planned in experiment.cells:
            journal = Journal(experiment.project.journal(DEVICE, planned.key))
            self.running[planned.key] = Running(planned, deployed, None, journal, [])


def _experiment(project: Project, protocol: Protocol) -> Experiment:
    cells = [
        Cell(MODEL, "trivial", "0", "fp32", DEVICE, "cpu", threads)
        for threads in range(1, CELLS + 1)
    ]
    planned = tuple(
        PlannedCell(
            cell=cell, key=digest(cell.as_dict()), measures={"latency": digest(cell.as_dict())},
            model="0", artifact="0", needs=Needs("0", "0"), stale={"latency": "no result yet"},
            causes={"latency": {}},
        )
        for cell in cells
    )  # fmt: skip
    step = ExperimentStep(
        id=f"{DEVICE}/{MODEL}", output="record.json", device=DEVICE, model=MODEL,
        cells=tuple(range(len(planned))),
    )  # fmt: skip
    plan = Plan(
        id="benchmark", current="0", attempt=0, protocol_name="quick", protocol=protocol,
        tolerances={"fp32": Tolerance(0.999, 0.01, True)}, precisions={"fp32": "fp32"}, tools={},
        runners={}, models={}, devices={}, cells=planned, environment={}, download={}, model={},
        derived={}, export={}, artifact={}, experiment={step.id: step},
    )  # fmt: skip
    return Experiment(project, plan, step)


def _deploy(root: Path, transport: Transport) -> Deployed:
    (root / "trivial").mkdir()
    shutil.copyfile(BACKEND, root / "trivial" / "backend.py")  # as the runner calls it
    library = structs.replace(all_libraries()["onnxruntime"], folder=root / "trivial")
    payload = pack(payload_code(library, LATENCY_ONLY), root / "payloads")
    input_arrays = {"input": np.zeros(INPUT["shape"], dtype="float32")}
    np.savez(root / "inputs.npz", input=input_arrays["input"])
    transport.put(payload, "payload.pyz")
    transport.put(root / "inputs.npz", "inputs.npz")
    (root / "work" / "artifact").mkdir()
    (root / "work" / "artifact" / "model").write_bytes(bytes(1 << 20))
    count = int(np.prod(OUTPUT["shape"]))
    return Deployed(
        python=Interpreter((sys.executable, "-s", "-E"), {}),
        payload="payload.pyz",
        artifact="artifact",
        inputs="inputs.npz",
        description={"inputs": [INPUT], "outputs": [OUTPUT]},
        input_arrays=input_arrays,
        reference={"output": np.arange(count, dtype="float32").reshape(OUTPUT["shape"])},
        classes=True,
        variables={},
    )


def _figure(
    launches: Sequence[LaunchTimes], began_ns: int, ended_ns: int, bare_ms: list[float]
) -> Figure:
    measured = sum(launch.mode == "measure" for launch in launches)

    def each_ms(durations_ns: Sequence[int]) -> float:
        """The mean over the measuring launches of the processes' total, in ms."""
        return sum(durations_ns) / 1e6 / measured

    at_work_ms = each_ms([launch.ended - launch.spawned for launch in launches])
    cost_ms = (ended_ns - began_ns) / 1e6 / measured - at_work_ms
    spawn_ms = each_ms([launch.spawned - launch.called for launch in launches])
    reap_ms = each_ms([launch.returned - launch.ended for launch in launches])
    start_ms = mean((launch.first - launch.spawned) / 1e6 for launch in launches)
    return Figure(
        what=f"host's own time per launch (mean of {measured} launches)",
        value=cost_ms,
        unit="ms",
        target=TARGET_MS,
        baselines=[Baseline("/bin/true by subprocess.run", median(bare_ms), "ms")],
        details={
            "processes a launch, with gates": f"{len(launches) / measured:.1f}",
            "of it, making the processes": f"{shown(spawn_ms)} ms",
            "of it, their end and reaping": f"{shown(reap_ms)} ms",
            "of it, output check, journal, statistics, commits": f"{shown(cost_ms - spawn_ms - reap_ms)} ms",
            "not counted, runners at work": f"{shown(at_work_ms)} ms",
            "of that, the start of each one's interpreter": f"{shown(start_ms)} ms",
        },
    )


def _check(experiment: Experiment) -> None:
    for planned in experiment.cells:
        key = planned.measures["latency"]
        header = experiment.store.header(planned.cell, "latency", key)
        if header["status"] != "ok":
            raise NotMeasurable(f"the trivial back end gave {header['status']}: {header['reason']}")


def _bare_spawn_ms() -> float:
    began = time.monotonic_ns()
    subprocess.run(["/bin/true"], check=True)
    return (time.monotonic_ns() - began) / 1e6
