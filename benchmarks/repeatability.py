"""How often a cell's 95 % interval holds what many experiments agree on.

The same cells are measured in 10 experiments, one after the other, each from nothing, by the
product's own code with the protocol `quick`. The pooled median of a cell is the median of all its
launches' medians over all experiments. Counted: the intervals (cell x experiment) that hold it.

Baseline, from the same samples: the interval that takes all samples of an experiment for
independent, as if the launches did not matter.
"""

from __future__ import annotations

from itertools import chain
from statistics import median
from typing import Any

from .comparing import independent_interval
from .figures import Baseline, Figure, NotMeasurable, Options, keep_raw
from .lab import Lab, open_lab
from .results import brief, flag_counts, good, interval, launch_medians, launches_of, name_of

TARGET_PERCENT = 90.0
EXPERIMENTS = 10
MODELS = ["squeezenet1_1"]
LIBRARIES = ["ncnn", "onnxruntime"]
THREADS = [1, 2]


def measure(options: Options) -> list[Figure]:
    count = options.runs or (3 if options.quick else EXPERIMENTS)
    with open_lab("repeatability") as lab:
        experiments = _measure(lab, options, count)
    keep_raw("repeatability", options, [[brief(result) for result in run] for run in experiments])
    cells = list(zip(*experiments, strict=True))  # the results of each cell, by experiment
    intervals = [result for results in cells for result in _intervals(results)]
    unflagged = [result for result in intervals if not result["flags"]]
    figures = [_figure("all", intervals)]
    if unflagged:
        figures.append(_figure("unflagged", unflagged))
    return figures


def _measure(lab: Lab, options: Options, count: int) -> list[list[dict[str, Any]]]:
    protocol = lab.protocol("quick", options)
    libraries = LIBRARIES[:1] if options.quick else LIBRARIES
    experiments = []
    for number in range(count):
        run = lab.measure(protocol, models=MODELS, libraries=libraries, threads=THREADS)
        experiments.append(good(run.results))
        latencies = ", ".join(f"{result['summary']['latency_ms']:.2f}" for result in run.results)
        print(
            f"  experiment {number + 1} of {count}: {run.wall_s:.0f} s; {latencies} ms", flush=True
        )
    return experiments


def _intervals(results: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """For each experiment of a cell, whether its interval contains the pooled median."""
    pooled_ms = median(chain.from_iterable(launch_medians(result) for result in results))
    intervals = []
    for result in results:
        bounds = interval(result)
        if bounds is None:
            raise NotMeasurable(f"{name_of(result)} has no interval")
        samples = [ms for launch in launches_of(result) for ms in launch["warm_ms"]]
        naive = independent_interval(samples)
        intervals.append(
            {
                "cell": name_of(result),
                "flags": result["flags"],
                "covers": bounds[0] <= pooled_ms <= bounds[1],
                "naive_covers": naive[0] <= pooled_ms <= naive[1],
                "half_width": (bounds[1] - bounds[0]) / 2 / result["summary"]["latency_ms"],
            }
        )
    return intervals


def _figure(title: str, intervals: list[dict[str, Any]]) -> Figure:
    by_cell: dict[str, list[bool]] = {}
    for row in intervals:
        by_cell.setdefault(row["cell"], []).append(row["covers"])
    return Figure(
        what=f"{title} intervals that hold the pooled median of {len(by_cell)} cells",
        value=_share([row["covers"] for row in intervals]),
        unit="%",
        least=TARGET_PERCENT if title == "all" else None,
        baselines=[
            Baseline(
                "intervals as if all samples were independent",
                _share([row["naive_covers"] for row in intervals]),
                "%",
            )
        ],
        details={
            "intervals": len(intervals),
            "by cell": ", ".join(
                f"{name} {sum(covers)}/{len(covers)}" for name, covers in by_cell.items()
            ),
            "median half-width": f"{100 * median(row['half_width'] for row in intervals):.1f} %",
            "flags": flag_counts(intervals),
        },
    )


def _share(covers: list[bool]) -> float:
    return 100 * sum(covers) / len(covers)
