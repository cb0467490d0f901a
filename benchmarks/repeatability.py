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
        found = _measure(lab, options, count)
    keep_raw("repeatability", options, [[brief(one) for one in run] for run in found])
    cells = list(zip(*found, strict=True))  # the results of each cell, by experiment
    everything = [one for results in cells for one in _judged(results)]
    unflagged = [one for one in everything if not one["flags"]]
    figures = [_figure("all", everything)]
    if unflagged:
        figures.append(_figure("unflagged", unflagged))
    return figures


def _measure(lab: Lab, options: Options, count: int) -> list[list[dict[str, Any]]]:
    protocol = lab.protocol("quick", options)
    libraries = LIBRARIES[:1] if options.quick else LIBRARIES
    found = []
    for number in range(count):
        run = lab.measure(protocol, models=MODELS, libraries=libraries, threads=THREADS)
        found.append(good(run.results))
        shown = ", ".join(f"{one['summary']['latency_ms']:.2f}" for one in run.results)
        print(f"  experiment {number + 1} of {count}: {run.wall_s:.0f} s; {shown} ms", flush=True)
    return found


def _judged(results: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """For each experiment of a cell, whether its intervals hold the pooled median."""
    pooled_ms = median(chain.from_iterable(launch_medians(one) for one in results))
    found = []
    for one in results:
        bounds = interval(one)
        if bounds is None:
            raise NotMeasurable(f"{name_of(one)} has no interval")
        samples = [ms for launch in launches_of(one) for ms in launch["warm_ms"]]
        naive = independent_interval(samples)
        found.append(
            {
                "cell": name_of(one),
                "flags": one["flags"],
                "covers": bounds[0] <= pooled_ms <= bounds[1],
                "naive_covers": naive[0] <= pooled_ms <= naive[1],
                "half_width": (bounds[1] - bounds[0]) / 2 / one["summary"]["latency_ms"],
            }
        )
    return found


def _figure(which: str, judged: list[dict[str, Any]]) -> Figure:
    by_cell: dict[str, list[bool]] = {}
    for one in judged:
        by_cell.setdefault(one["cell"], []).append(one["covers"])
    return Figure(
        what=f"{which} intervals that hold the pooled median of {len(by_cell)} cells",
        value=_share([one["covers"] for one in judged]),
        unit="%",
        least=TARGET_PERCENT if which == "all" else None,
        baselines=[
            Baseline(
                "intervals as if all samples were independent",
                _share([one["naive_covers"] for one in judged]),
                "%",
            )
        ],
        details={
            "intervals": len(judged),
            "by cell": ", ".join(
                f"{name} {sum(held)}/{len(held)}" for name, held in by_cell.items()
            ),
            "median half-width": f"{100 * median(one['half_width'] for one in judged):.1f} %",
            "flags": flag_counts(judged),
        },
    )


def _share(held: list[bool]) -> float:
    return 100 * sum(held) / len(held)
