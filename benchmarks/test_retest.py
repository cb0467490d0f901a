"""Two full runs of the default matrix: how far the second's medians are from the first's.

The cells of config/config.yaml, measured twice from nothing by the product's own experiments, with
the config's protocol. What is known of the device's speed stays between the runs, as it does for
a user, so that a device that changed is flagged.

Baseline, from the same runs: the first launch of each cell in either run, as if one launch were a
measurement.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from cellfarm.wanted.configuration import load_file

from .figures import REPOSITORY, Baseline, Figure, NotMeasurable, Options, keep_raw
from .lab import open_lab
from .results import brief, flag_counts, latency_ms, launch_medians, name_of

TARGET_PERCENT = 95.0
WITHIN = 0.05
Pair = tuple[dict[str, Any], dict[str, Any]]


def measure(options: Options) -> list[Figure]:
    with open_lab("test_retest") as lab:
        protocol = lab.protocol(load_file(lab.project).config.protocol, options)
        axes = (
            {"models": ["squeezenet1_1"], "libraries": ["ncnn", "litert"]} if options.quick else {}
        )
        runs = []
        for number in (1, 2):
            run = lab.measure(protocol, **axes)
            print(f"  run {number} of 2: {run.wall_s:.0f} s", flush=True)
            runs.append(run.results)
    keep_raw("test_retest", options, [[brief(result) for result in run] for run in runs])
    pairs = list(zip(*runs, strict=True))
    measured = [pair for pair in pairs if all("latency_ms" in result["summary"] for result in pair)]
    if not measured:
        raise NotMeasurable(f"no cell of {REPOSITORY / 'config/config.yaml'} has a latency")
    outside = [pair for pair in measured if abs(_ratio(pair) - 1) > WITHIN]
    silent = [pair for pair in outside if not _flags(pair)]
    return [_agreement(pairs, measured, outside), _silent(outside, silent)]


def _agreement(pairs: list[Pair], measured: list[Pair], outside: list[Pair]) -> Figure:
    unflagged = [pair for pair in measured if not _flags(pair)]
    ratios = [_ratio(pair) for pair in measured]
    first_launches = [
        launch_medians(second)[0] / launch_medians(first)[0] for first, second in measured
    ]
    inside = sum(abs(ratio - 1) <= WITHIN for ratio in map(_ratio, unflagged))
    return Figure(
        what=f"cells whose two medians are within {100 * WITHIN:g} %",
        value=100 * (len(measured) - len(outside)) / len(measured),
        unit="%",
        least=TARGET_PERCENT,
        baselines=[
            Baseline(
                "one launch of each cell instead of all",
                100
                * sum(abs(ratio - 1) <= WITHIN for ratio in first_launches)
                / len(first_launches),
                "%",
            )
        ],
        details={
            "cells": f"{len(measured)}, and {len(pairs) - len(measured)} without a latency",
            "without a flag in either run": f"{inside} of {len(unflagged)} within",
            "median distance of the medians": f"{100 * median(abs(ratio - 1) for ratio in ratios):.2f} %",
            "largest": f"{100 * max(abs(ratio - 1) for ratio in ratios):.1f} %",
            "flags, first run": flag_counts([first for first, _ in pairs]),
            "flags, second run": flag_counts([second for _, second in pairs]),
        },
    )


def _silent(outside: list[Pair], silent: list[Pair]) -> Figure:
    return Figure(
        what=f"cells more than {100 * WITHIN:g} % apart without a flag",
        value=float(len(silent)),
        unit="cells",
        target=0.0,
        baselines=[Baseline("cells that far apart, flagged or not", float(len(outside)), "cells")],
        details={name_of(pair[0]): _line(pair) for pair in outside},
    )


def _line(pair: Pair) -> str:
    first, second = pair
    flags = [", ".join(result["flags"]) or "no flag" for result in pair]
    return (
        f"{latency_ms(first):.2f} ms ({flags[0]}), then {latency_ms(second):.2f} ms ({flags[1]}): "
        f"ratio {_ratio(pair):.3f}"
    )


def _ratio(pair: Pair) -> float:
    return latency_ms(pair[1]) / latency_ms(pair[0])


def _flags(pair: Pair) -> list[str]:
    return [flag for result in pair for flag in result["flags"]]
