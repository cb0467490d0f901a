"""The default experiment on a board at the end of a slow link that loses packets.

SqueezeNet 1.1 on ncnn with the config's threads, protocol `quick`, on a virtual board in a network
namespace behind a link of 10 ms each way that loses 1 % of the packets each way (benchmarks.tun_link), and on
the same kind of board on plain loopback, in turns. The first experiment on each puts everything there; the
others find it there, and are what is compared: their whole time, and the latencies that they measured, which
the link must not touch. The boards are this machine behind an sshd: they are told not to say that they are
virtual, so that the experiments are whole ones, and what they measure is no result.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from cellfarm.base.locking import file_lock, machine_lock_path
from cellfarm.experiments.experiment import Experiment
from cellfarm.experiments.run import run_experiment
from cellfarm.virtual.network import Namespace
from cellfarm.virtual.starting import virtual_board

from . import tun_link
from .comparing import geometric_interval, geometric_mean, percent, percent_interval
from .figures import Baseline, Figure, NotMeasurable, Options, keep_raw, shown, spread
from .lab import changed_protocol, tiny
from .processes import report_wait
from .project_copy import ProjectCopy, open_copy
from .results import brief, latency_ms
from .timed_transport import CountingLink, Spent, timed_experiments

DELAY_MS, LOSS = 10.0, 0.01
MODEL, LIBRARY, PROTOCOL = "squeezenet1_1", "ncnn", "quick"
NEAR, FAR = "bench_near", "bench_far"
ROUNDS = 4
CONNECTIONS = 20


@dataclass
class ExperimentRun:
    """One experiment.

    Attributes:
        spent: seconds in the transport by method.
        planned: the number of its cells; `results` has those that were measured.
    """

    wall_s: float
    planned: int
    results: list[dict[str, Any]]
    spent: Spent
    pushed_bytes: int
    lost: int = 0
    dropped_out: str | None = None

    @property
    def ok(self) -> int:
        return sum(result["status"] == "ok" for result in self.results)


@dataclass
class Board:
    """A board's experiments: the first, and the later ones, which found all files on the board."""

    first: ExperimentRun
    later: list[ExperimentRun] = field(default_factory=list)

    @property
    def wall_s(self) -> list[float]:
        return [experiment.wall_s for experiment in self.later]

    @property
    def all(self) -> list[ExperimentRun]:
        return [self.first, *self.later]

    @property
    def ok_percent(self) -> float:
        return (
            100.0
            * sum(experiment.ok for experiment in self.all)
            / sum(experiment.planned for experiment in self.all)
        )

    def spent_s(self, *methods: str) -> float:
        """Median over the later experiments."""
        return median(
            sum(experiment.spent.get(name, 0.0) for name in methods) for experiment in self.later
        )


def measure(options: Options) -> list[Figure]:
    rounds = options.runs or (1 if options.quick else ROUNDS)
    with (
        open_copy("lossy_link") as copy,
        tun_link.connected(DELAY_MS, LOSS) as link,
        virtual_board(copy.project, NEAR, emulated=False) as near,
        virtual_board(
            copy.project, FAR, network=Namespace(link.address, link.prefix), emulated=False
        ) as far,
        file_lock(machine_lock_path("host"), on_wait=report_wait),
    ):
        for started in (near, far):
            copy.add_device(started.document)
        round_trip_ms = _round_trip_ms(far.document["address"])
        boards = {name: Board(_experiment(copy, name, options)) for name in (NEAR, FAR)}
        for number in range(rounds):
            for name in (NEAR, FAR) if number % 2 else (FAR, NEAR):
                boards[name].later.append(_experiment(copy, name, options))
        counts = link.counted()
        lost_percent = 100 * counts["dropped"] / (counts["carried"] + counts["dropped"])
        plain_ms = _round_trip_ms(near.document["address"])
    link_details = {
        "round trip (median of TCP connections)": (
            f"{shown(round_trip_ms)} ms; on loopback {shown(plain_ms)} ms"
        ),
        "TCP's congestion control": tun_link.CONGESTION_CONTROL,
        "packets lost": f"{lost_percent:.2f} % of {counts['carried'] + counts['dropped']}",
    }
    keep_raw(
        "lossy_link", options, {name: _raw(board) for name, board in boards.items()} | link_details
    )
    return _figures(boards[NEAR], boards[FAR], link_details)


def _experiment(copy: ProjectCopy, name: str, options: Options) -> ExperimentRun:
    """Measure the cells of one board anew.

    Raises:
        NotMeasurable: it was refused before anything was measured.
    """
    copy.forget_results()
    protocol = changed_protocol(copy.project, PROTOCOL)
    if options.quick:
        protocol = tiny(protocol)
    outlook, plan = copy.plan(protocol, devices=[name], models=[MODEL], libraries=[LIBRARY])
    spent: Spent = {}
    links: list[CountingLink] = []
    with timed_experiments(spent, links):
        began_s = time.monotonic()
        run_experiment(Experiment(copy.project, plan, plan.experiment[f"{name}/{MODEL}"]))
        wall_s = time.monotonic() - began_s
    results = copy.results()
    if not results:
        raise NotMeasurable(f"{name}: no cell was measured: {copy.records()[0].get('lost')}")
    return ExperimentRun(
        wall_s=wall_s,
        planned=len(outlook.cells),
        results=results,
        spent=spent,
        pushed_bytes=sum(sum(link.pushed_bytes) for link in links),
        lost=sum(launch.get("lost", 0) for result in results for launch in result["launches"]),
        dropped_out=copy.records()[0].get("lost"),
    )


def _figures(near: Board, far: Board, link_details: Mapping[str, str]) -> list[Figure]:
    lost = sum(experiment.lost for experiment in far.all)
    dropped_out = [experiment.dropped_out for experiment in far.all if experiment.dropped_out]
    return [
        Figure(
            what=f"cells `ok` over the link, of {sum(experiment.planned for experiment in far.all)}",
            value=far.ok_percent,
            unit="%",
            least=100.0,
            baselines=[Baseline("on loopback", near.ok_percent, "%")],
            details={
                **link_details,
                "launches that were lost and done again": lost,
                "experiments that were given up": "; ".join(dropped_out) or "none",
            },
        ),
        Figure(
            what="what the link adds to an experiment that finds everything there",
            value=percent(median(far.wall_s) / median(near.wall_s)),
            unit="%",
            baselines=[Baseline("on loopback", median(near.wall_s), "s")],
            details={
                "over the link": spread(far.wall_s, "s"),
                "on loopback": spread(near.wall_s, "s"),
                **_where(far, near),
                "a launch with its gate": f"{_per_launch_s(far)}; on loopback {_per_launch_s(near)}",
            },
        ),
        Figure(
            what="first experiment over the link, with everything that it puts there",
            value=far.first.wall_s,
            unit="s",
            baselines=[Baseline("on loopback", near.first.wall_s, "s")],
            details={"pushed": f"{far.first.pushed_bytes / 1e6:.0f} MB"},
        ),
        *_latency(near, far),
    ]


def _latency(near: Board, far: Board) -> list[Figure]:
    """The same cells' latencies over the link and on loopback, experiment by experiment."""
    try:
        settings = _ratios(near.later, far.later)
        alone = _ratios(near.later[::2], near.later[1::2])
    except KeyError:
        print("  not measured: latencies, as a cell has none", flush=True)
        return []
    baselines = []
    if alone:
        baselines.append(Baseline("loopback less itself", percent(geometric_mean(alone)), "%"))
    return [
        Figure(
            what="latency over the link less that on loopback (geometric mean of the ratios)",
            value=percent(geometric_mean(settings)),
            unit="%",
            baselines=baselines,
            details={
                "interval": percent_interval(geometric_interval(settings)),
                "over the link": spread(_latencies_ms(far), "ms"),
                "on loopback": spread(_latencies_ms(near), "ms"),
            },
        )
    ]


def _ratios(first: list[ExperimentRun], second: list[ExperimentRun]) -> list[list[float]]:
    """For each cell, latency in the second experiment of each pair over that in the first."""
    ratios: dict[int, list[float]] = {}
    for before, after in zip(first, second, strict=False):
        latencies_ms = {result["cell"]["threads"]: latency_ms(result) for result in before.results}
        for result in after.results:
            threads = result["cell"]["threads"]
            ratios.setdefault(threads, []).append(latency_ms(result) / latencies_ms[threads])
    return list(ratios.values())


def _latencies_ms(board: Board) -> list[float]:
    return [latency_ms(result) for experiment in board.later for result in experiment.results]


def _where(far: Board, near: Board) -> dict[str, str]:
    """Which parts of the transport's work took longer."""
    methods_by_part = {
        "connection and agent's start": ("prepare",),
        "facts": ("facts",),
        "look at every file": ("put", "interpreter"),
        "launches and gates": ("run",),
        "outputs": ("read", "remove"),
        "closing": ("take_control", "release_control", "close"),
    }
    return {
        f"of it, {part}": (
            f"{shown(far.spent_s(*methods))} s, on loopback {shown(near.spent_s(*methods))} s"
        )
        for part, methods in methods_by_part.items()
    }


def _per_launch_s(board: Board) -> str:
    """The time of a launch with its gate, and the number of launches in an experiment."""
    counts = [
        sum(len(result["launches"]) for result in experiment.results) for experiment in board.later
    ]
    return f"{shown(board.spent_s('run') / median(counts))} s, {median(counts):.0f} of them"


def _raw(board: Board) -> list[dict[str, Any]]:
    return [
        {
            "wall_s": experiment.wall_s,
            "spent_s": experiment.spent,
            "pushed_bytes": experiment.pushed_bytes,
            "lost": experiment.lost,
            "results": [brief(result) for result in experiment.results],
        }
        for experiment in board.all
    ]


def _round_trip_ms(address: Mapping[str, Any]) -> float:
    """The time of a TCP connection, which is one round trip unless a packet is lost."""
    times_ms = []
    for _ in range(CONNECTIONS):
        began_s = time.monotonic()
        with socket.create_connection((address["host"], address["port"]), 30):
            times_ms.append((time.monotonic() - began_s) * 1e3)
    return median(times_ms)
