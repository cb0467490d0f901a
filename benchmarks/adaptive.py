"""What adaptive stopping saves: the default matrix against a fixed 10 launches of 50 inferences.

Both ways measure every cell of the default matrix by the product's own experiments, model by model
in turn (the order of the ways alternates), with the gates of the protocol `quick`, without cold starts
and profiles. The adaptive way is `quick` as it is; the fixed way takes 10 launches of 50 inferences
whatever their spread.

The figure is the ratio of the experiments' wall times. Beside it: the share of cells whose interval
is as narrow as the protocol wants, either way, and the time in launches alone.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from cellfarm.wanted.configuration import load_file

from .figures import Baseline, Figure, Options, keep_raw
from .lab import LATENCY_ONLY, Measured, open_lab
from .results import brief, flag_counts, half_width, launches_of

TARGET = 0.5
FIXED: dict[str, Any] = {
    "launches": {"min": 10, "max": 10},
    "samples": {"min": 50, "max": 50, "seconds": 0},
}
WAYS = ("adaptive", "fixed")


def measure(options: Options) -> list[Figure]:
    totals = {sampling: Measured() for sampling in WAYS}
    with open_lab("adaptive") as lab:
        adaptive = lab.protocol("quick", options, LATENCY_ONLY)
        fixed_settings = FIXED | ({"launches": {"min": 3, "max": 3}} if options.quick else {})
        protocols = {
            "adaptive": adaptive,
            "fixed": lab.protocol("quick", options, LATENCY_ONLY, fixed_settings),
        }
        models = ["squeezenet1_1"] if options.quick else list(load_file(lab.project).config.models)
        libraries = {"libraries": ["ncnn", "litert"]} if options.quick else {}
        for number, model in enumerate(models):
            for sampling in WAYS if number % 2 == 0 else reversed(WAYS):
                run = lab.measure(protocols[sampling], models=[model], **libraries)
                print(f"  {model}, {sampling}: {run.wall_s:.0f} s", flush=True)
                totals[sampling].results += run.results
                totals[sampling].launches += run.launches
                totals[sampling].wall_s += run.wall_s
    raw = {sampling: _raw(total) for sampling, total in totals.items()}
    keep_raw("adaptive", options, raw)
    target = adaptive.measures["latency"]["target_half_width"]
    fixed = totals["fixed"]
    return [
        Figure(
            what="wall time, of that of 10 launches of 50 inferences",
            value=totals["adaptive"].wall_s / fixed.wall_s,
            unit="",
            target=TARGET,
            baselines=[Baseline("10 launches of 50 inferences", fixed.wall_s, "s")],
            details={sampling: _described(total, target) for sampling, total in totals.items()}
            | {
                "time in measuring launches, of that": totals["adaptive"].seconds("measure")
                / fixed.seconds("measure"),
            },
        )
    ]


def _described(total: Measured, target: float) -> str:
    widths = _widths(total)
    launches = [len(launches_of(result)) for result in total.results]
    narrow = sum(width <= target for width in widths)
    return (
        f"{total.wall_s:.0f} s, of it {total.seconds('measure'):.0f} s in measuring launches and "
        f"{total.seconds('gate'):.0f} s in gates; {sum(launches)} launches, {min(launches)} to "
        f"{max(launches)} a cell; {narrow} of {len(total.results)} cells as narrow as "
        f"{100 * target:g} %, median half-width {100 * median(widths):.1f} %; "
        f"flags: {flag_counts(total.results)}"
    )


def _widths(total: Measured) -> list[float]:
    """Half-widths of the intervals; a cell without one counts as 1."""
    widths = [half_width(result) if result["summary"] else None for result in total.results]
    return [1.0 if width is None else width for width in widths]


def _raw(total: Measured) -> dict[str, Any]:
    seconds = {mode: total.seconds(mode) for mode in ("measure", "gate")}
    return {
        "wall_s": total.wall_s,
        "seconds": seconds,
        "cells": [brief(result) for result in total.results],
    }
