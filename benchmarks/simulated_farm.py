"""How much of its time a farm of 50 devices is busy: 2,000 cells, measured by one plain `snakemake`.

The devices are work folders behind one real sshd on loopback, each a device of its own to the product: its
own file, connection, agent and lock. Their runner sleeps (benchmarks.sleeping_runner), about as long as a
phone takes, and does next to no work, as a device's work is not this machine's: 5.5 s for a launch, half
as long for a cold start, 0.5 s for a gate. Models and artifacts are made up and tiny. As in the default
config an experiment has 10 cells (5 libraries, 2 thread counts), and a cell has what the protocol `quick`
takes at the least: 3 measuring launches and 3 cold starts, each behind a gate, and one for the held-out
inputs; no profile. All devices have the same to do and begin their experiments at the same time: no farm has
it worse.

Busy is a device while a runner, gates too, is on it: from when the device's agent spawns it until it has
said its last. The figure is the sum over all devices, over their number times the wall time of the measuring
phase: from the moment when Snakemake begins to run jobs until the last experiment's record is written. So the
start of every job, connections, deployment, outputs, commits and scheduling count against it. Planning, the
warehouse and the report do not, and are shown. `--runs N` takes N experiments a device instead of 4. Baseline
from the same run: one such device alone, with one experiment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cellfarm.base.locking import file_lock, machine_lock_path
from cellfarm.virtual.starting import Started, virtual_board

from .busy import Shares, Stay, gaps_s, most_at_once, read_log, shares
from .figures import Baseline, Figure, NotMeasurable, Options, keep_raw, shown
from .host_usage import Usage, cpu_s, monotonic_of, watched
from .processes import VENV_BIN, report_wait, run
from .project_copy import ProjectCopy, open_copy

LEAST_BUSY = 0.9
PROTOCOL, BOARD, ALONE = "simulated", "bench_board", "simulated_alone"
TEMPLATE = "squeezenet1_1"
#: The Snakefile's text after which it begins to run jobs.
_ONSTART = re.compile(r"^onstart:\n", re.MULTILINE)
_BEGAN = "measuring_began_ns"
_PROBE = f"""onstart:
    __import__("pathlib").Path("{_BEGAN}").write_text(str(__import__("time").monotonic_ns()))
"""


@dataclass(frozen=True)
class Size:
    """`models` are the experiments of a device; each has a cell for every library and thread count."""

    devices: int
    models: int
    libraries: int
    threads: int
    launch_s: float

    @property
    def cells(self) -> int:
        return self.devices * self.models * self.libraries * self.threads


LARGE = Size(devices=50, models=4, libraries=5, threads=2, launch_s=5.5)
QUICK = Size(devices=3, models=2, libraries=2, threads=1, launch_s=0.5)


@dataclass
class FarmRun:
    """One run of the pipeline.

    Attributes:
        stays: device -> its runners' spans.
        began_s, ended_s: begin and end of the measuring phase, by the monotonic clock.
        host_cpu_s: of Snakemake and all its jobs; `device_cpu_s` of the sshd and all below it.
    """

    stays: dict[str, list[Stay]]
    began_s: float
    ended_s: float
    wall_s: float
    host_cpu_s: float
    device_cpu_s: float
    usage: Usage
    ok: int

    @property
    def phase_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def shares(self) -> Shares:
        return shares(self.stays, self.began_s, self.ended_s)

    @property
    def runners(self) -> int:
        return sum(map(len, self.stays.values()))

    @property
    def launches(self) -> int:
        return sum(span.mode != "gate" for spans in self.stays.values() for span in spans)


def measure(options: Options) -> list[Figure]:
    size = QUICK if options.quick else LARGE
    if options.runs:
        size = Size(size.devices, options.runs, size.libraries, size.threads, size.launch_s)
    with (
        open_copy("simulated_farm", is_made_up=True) as copy,
        virtual_board(copy.project, BOARD, emulated=False) as board,
        file_lock(machine_lock_path("host"), on_wait=report_wait),
    ):
        names = _make_farm(copy, size, board)
        print("  one device alone ...", flush=True)
        alone = _run(copy, [ALONE], board, "models=model0")
        print(
            f"  {alone.phase_s:.0f} s; {size.devices} devices, {size.cells} cells ...", flush=True
        )
        farm = _run(copy, names, board)
    keep_raw("simulated_farm", options, {"alone": _raw(alone), "farm": _raw(farm)})
    return _figures(size, alone, farm)


def _make_farm(copy: ProjectCopy, size: Size, board: Started) -> list[str]:
    """Write models, devices, a protocol and the cells' artifacts; returns the devices' names.

    Raises:
        NotMeasurable: this machine cannot act as such a board.
    """
    runner = copy.root / "workflow/cellfarm/runner/__main__.py"
    sleeping = Path(__file__).with_name("sleeping_runner.py").read_text(encoding="utf-8")
    runner.write_text(sleeping, encoding="utf-8")
    _probe(copy.root / "Snakefile")
    protocol = copy.read("config/protocols/quick.yaml") | {
        "launches": {"min": 3, "max": 3},
        "samples": {"min": 30, "max": 30, "seconds": size.launch_s},
        "profile": {"runs": 0},
        "affinity": "none",
        "governor": "keep",
    }
    copy.write(f"config/protocols/{PROTOCOL}.yaml", protocol)
    models = [f"model{number}" for number in range(size.models)]
    recipe = copy.read(f"models/{TEMPLATE}.yaml")
    for name in models:
        copy.write(f"models/{name}.yaml", recipe | {"name": name, "title": name})
    names = [f"simulated_{number:02}" for number in range(size.devices)]
    for name in (*names, ALONE):
        work_folder = f"{board.document['work_folder']}/{name}"
        copy.add_device({**board.document, "name": name, "work_folder": work_folder})
    config = copy.read("config/config.yaml")
    config |= {
        "models": models,
        "libraries": config["libraries"][: size.libraries],
        "devices": [*names, ALONE],
        "threads": [1, 2][: size.threads],
        "protocol": PROTOCOL,
    }
    copy.write("config/config.yaml", config)
    filler = Path(__file__).with_name("fill_simulated.py")
    completed = run([VENV_BIN / "python", filler], copy.root, copy.variables)
    if completed.code != 0:
        raise NotMeasurable(f"the simulated farm cannot be made: {completed.output[-2000:]}")
    return names


def _probe(snakefile: Path) -> None:
    """Make a Snakefile record when it begins to run jobs."""
    text, count = _ONSTART.subn(_PROBE, snakefile.read_text(encoding="utf-8"))
    if count != 1:
        raise NotMeasurable("the Snakefile has no `onstart` any more")
    snakefile.write_text(text, encoding="utf-8")


def _run(copy: ProjectCopy, names: Sequence[str], board: Started, *axes: str) -> FarmRun:
    work_folder = Path(board.document["work_folder"])
    before_s = cpu_s(board.process.pid)
    with watched(excluded=board.process.pid) as usage:
        completed = copy.snakemake("measured", "--config", f"devices={','.join(names)}", *axes)
    device_cpu_s = cpu_s(board.process.pid) - before_s
    logs = {name: work_folder / name / "launches.log" for name in names}
    spans = {name: read_log(log.read_text()) if log.is_file() else [] for name, log in logs.items()}
    records = [path for path in copy.record_paths() if path.parent.name in spans]
    results = [result for result in copy.results() if result["cell"]["device"] in spans]
    failed = [result for result in results if result["status"] != "ok"]
    if failed or not records:
        reason = (
            f"{failed[0]['status']}: {failed[0]['reason']}" if failed else completed.output[-2000:]
        )
        raise NotMeasurable(f"{len(failed)} simulated cells are not ok: {reason}")
    return FarmRun(
        stays=spans,
        began_s=int((copy.root / _BEGAN).read_text()) / 1e9,
        ended_s=max(map(monotonic_of, records)),
        wall_s=completed.wall_s,
        host_cpu_s=completed.cpu_s,
        device_cpu_s=device_cpu_s,
        usage=usage,
        ok=len(results),
    )


def _figures(size: Size, alone: FarmRun, farm: FarmRun) -> list[Figure]:
    return [
        Figure(
            what=f"share of its time that a device is busy, {size.devices} devices",
            value=farm.shares.busy,
            unit="of 1",
            least=LEAST_BUSY,
            baselines=[Baseline("one device alone", alone.shares.busy, "of 1")],
            details={
                "measuring phase": f"{shown(farm.phase_s)} s, {farm.runners} launches and gates",
                "devices busy at once, at most": most_at_once(farm.stays.values()),
                **_idle(farm),
                "alone": "; ".join(f"{name} {value}" for name, value in _idle(alone).items()),
            },
        ),
        Figure(
            what=f"cells `ok`, of {size.cells}",
            value=100.0 * farm.ok / size.cells,
            unit="%",
            least=100.0,
        ),
        Figure(
            what="CPU of this machine per launch, everything of the host's counted",
            value=1e3 * farm.host_cpu_s / farm.launches,
            unit="ms",
            baselines=[
                Baseline("one device alone", 1e3 * alone.host_cpu_s / alone.launches, "ms"),
            ],
            details={
                "host's, in all": f"{shown(farm.host_cpu_s)} s",
                "the simulated devices' own (sshd, agents, runners)": (
                    f"{shown(farm.device_cpu_s)} s"
                ),
                "planning, before the measuring phase; warehouse, after it": (
                    f"{shown(farm.wall_s - farm.phase_s)} s in all"
                ),
            },
        ),
        Figure(
            what="memory of the host's processes at once, at most (PSS)",
            value=farm.usage.memory_mb,
            unit="MB",
            baselines=[Baseline("one device alone", alone.usage.memory_mb, "MB")],
            details={"processes at once, at most": farm.usage.processes},
        ),
    ]


def _idle(experiment: FarmRun) -> Mapping[str, str]:
    """The shares of the idle time, as texts."""
    shares = experiment.shares
    within = gaps_s(experiment.stays.values(), within=True)
    between = gaps_s(experiment.stays.values(), within=False)
    return {
        "waiting for its first launch": f"{shares.before:.1%}",
        "between launches": f"{shares.within:.1%}, {_middle(within)} each",
        "between experiments": f"{shares.between:.1%}, {_middle(between)} each",
        "after its last launch": f"{shares.after:.1%}",
    }


def _middle(values: Sequence[float]) -> str:
    return f"{shown(median(values))} s" if values else "none"


def _raw(ran: FarmRun) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(ran).items() if name not in ("stays", "usage")},
        "usage": vars(ran.usage),
        "shares": vars(ran.shares),
        "stays_s": {
            name: [
                [span.mode, span.agent, span.began_s - ran.began_s, span.ended_s - ran.began_s]
                for span in spans
            ]
            for name, spans in ran.stays.items()
        },
    }
