"""Warm latency against LiteRT's own benchmark tool, on the same artifact and threads.

A pair is one launch of cellfarm's runner (protocol `quick`) and one run of the tool, one right after
the other, which of them first alternating: what drifts hits both. Both are fresh processes of the
same interpreter; the tool is told to do as many warm-up inferences and as many samples as the
runner does (worked out by a launch that is not counted), and both give the median of their samples.
The inputs differ (the tool makes random ones), which FP32 kernels do not see.

The figure is the difference of the geometric mean of the ratios runner/tool over all settings, with
a bootstrap interval over the pairs. The baseline says what chance alone does: the tool against
itself, its even runs against its odd ones.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cellfarm.configuration import load_file, read_protocol
from cellfarm.errors import CellfarmError
from cellfarm.locking import file_lock, machine_lock_path
from cellfarm.plan import PlannedCell, make_plan
from cellfarm.project import Project

from .figures import REPOSITORY, Baseline, Figure, NotMeasurable, Options, shown
from .litert_tool import LIBRARY, Iterations, Subject

TARGET_PERCENT = 3.0
MODELS = ("mobilenet_v2", "squeezenet1_1")
THREADS = (1, 2)
PAIRS = 12
RESAMPLES = 5000


def measure(options: Options) -> list[Figure]:
    project = Project(REPOSITORY)
    pairs = options.runs or (2 if options.quick else PAIRS)
    protocol = read_protocol(project, "quick", "benchmarks")
    if options.quick:
        protocol |= {
            "warmup": {"min": 1, "seconds": 0},
            "samples": {"min": 3, "max": 3, "seconds": 0},
        }
    ratios: list[list[float]] = []
    tool_ms: list[list[float]] = []
    figures = []
    with (
        tempfile.TemporaryDirectory(prefix="cellfarm-tool-") as folder,
        file_lock(machine_lock_path("host"), on_wait=_waiting) as lock,
    ):
        for planned in _wanted(project):
            subject = Subject(project, planned, Path(folder, planned.key))
            ours, theirs, counts = _measure_pairs(subject, protocol, pairs, lock)
            ratios.append([a / b for a, b in zip(ours, theirs, strict=True)])
            tool_ms.append(theirs)
            figures.append(_figure(planned, ours, theirs, counts))
    return [*figures, _overall(ratios, tool_ms)]


def _wanted(project: Project) -> Iterator[PlannedCell]:
    """The cells of this checkout's config whose artifacts are compared.

    Raises:
        NotMeasurable: it has none of them.
    """
    try:
        plan = make_plan(project, load_file(project))
    except CellfarmError as error:
        raise NotMeasurable(str(error)) from error
    found = [
        planned
        for planned in plan.cells
        if planned.cell.library == LIBRARY
        and planned.cell.model in MODELS
        and planned.cell.threads in THREADS
        and planned.cell.device == "host"
        and (planned.cell.variant, planned.cell.processor) == ("fp32", "cpu")
    ]
    if not found:
        raise NotMeasurable(f"the config asks for no {LIBRARY} cell of {', '.join(MODELS)}")
    yield from found


def _measure_pairs(
    subject: Subject, protocol: dict[str, Any], pairs: int, lock: int
) -> tuple[list[float], list[float], Iterations]:
    """(medians of the runner, medians of the tool) in ms, pair by pair."""
    _, counts = subject.by_runner(protocol, lock)
    subject.by_tool(counts)  # both have been loaded from the disk by now
    ours, theirs = [], []
    for number in range(pairs):
        if number % 2 == 0:
            ours.append(subject.by_runner(protocol, lock)[0])
            theirs.append(subject.by_tool(counts))
        else:
            theirs.append(subject.by_tool(counts))
            ours.append(subject.by_runner(protocol, lock)[0])
        print(
            f"  {subject.cell.model} t{subject.cell.threads}, pair {number + 1} of {pairs}: "
            f"runner {ours[-1]:.2f} ms, tool {theirs[-1]:.2f} ms, "
            f"ratio {ours[-1] / theirs[-1]:.3f}",
            flush=True,
        )
    return ours, theirs, counts


def _figure(
    planned: PlannedCell, ours: list[float], theirs: list[float], counts: Iterations
) -> Figure:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = _interval([ratios])
    return Figure(
        what=f"{planned.cell.model}, t{planned.cell.threads}: runner less tool",
        value=_percent(_geometric_mean([ratios])),
        unit="%",
        baselines=[Baseline("the tool (median of its medians)", median(theirs), "ms")],
        details={
            "95 % interval": f"{low:+.1f} % to {high:+.1f} %",
            "ratios, pair by pair": " ".join(f"{ratio:.3f}" for ratio in ratios),
            "the runner (median of its medians)": f"{shown(median(ours))} ms",
            "ratio of those two medians": f"{median(ours) / median(theirs):.3f}",
            "per process": f"{counts.warmup} warm-up inferences, {counts.samples} samples",
        },
    )


def _overall(ratios: list[list[float]], tool_ms: list[list[float]]) -> Figure:
    low, high = _interval(ratios)
    chance = [
        [a / b for a, b in zip(one[::2], one[1::2], strict=False)]
        for one in tool_ms
        if len(one) > 1
    ]
    baselines = []
    if chance:
        value = _percent(_geometric_mean(chance))
        baselines.append(Baseline("the tool less itself (even runs, odd runs)", value, "%"))
    return Figure(
        what=f"all {len(ratios)} settings together: runner less tool",
        value=_percent(_geometric_mean(ratios)),
        unit="%",
        target=TARGET_PERCENT,
        baselines=baselines,
        details={
            "95 % interval": f"{low:+.1f} % to {high:+.1f} %",
            "pairs": sum(len(one) for one in ratios),
        },
    )


def _interval(ratios: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The 95 % bootstrap interval in percent; the pairs of each setting are resampled."""
    generator = np.random.default_rng(0)
    drawn = np.zeros(RESAMPLES)
    for one in ratios:
        logarithms = np.log(np.asarray(one))
        picks = generator.integers(len(logarithms), size=(RESAMPLES, len(logarithms)))
        drawn += np.mean(logarithms[picks], axis=1) / len(ratios)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _percent(math.exp(low)), _percent(math.exp(high))


def _geometric_mean(ratios: Sequence[Sequence[float]]) -> float:
    """Over the settings, of the geometric means over the pairs."""
    return math.exp(float(np.mean([np.mean(np.log(np.asarray(one))) for one in ratios])))


def _percent(ratio: float) -> float:
    return (ratio - 1) * 100


def _waiting(who: str) -> None:
    print(f"  waiting for this machine, being measured by {who}", flush=True)
