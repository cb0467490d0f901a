"""A known slowdown of 2, 5 or 10 %: how often the product finds it.

A library and three copies of it whose inferences take longer by a known share (a busy loop after
each, see slowed_backend.py) are the cells of one experiment; eight experiments with the protocol
`standard`, without cold starts and profiles, each with a seed of its own. Found: the 95 % interval
of the ratio from paired rounds lies above 1.

Baseline, from the same results: the two cells' own intervals do not overlap.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from cellfarm.analysis.ratios import Ratio

from .figures import Baseline, Figure, Options, keep_raw
from .lab import LATENCY_ONLY, open_lab
from .results import brief, good, interval, ratio
from .variants import add_copy

#: slowdown -> the share of pairs in which it must be found, in percent
LEAST_PERCENT = {0.02: 50.0, 0.05: 100.0, 0.10: 100.0}
EXPERIMENTS = 8
MODEL, LIBRARY, THREADS = "squeezenet1_1", "ncnn", 1
Pair = tuple[dict[str, Any], dict[str, Any]]


def measure(options: Options) -> list[Figure]:
    count = options.runs or (2 if options.quick else EXPERIMENTS)
    pairs: dict[float, list[Pair]] = {slowdown: [] for slowdown in LEAST_PERCENT}
    with open_lab("a_b") as lab:
        plain = add_copy(lab, LIBRARY, "unslowed")
        names = {
            add_copy(lab, LIBRARY, f"slowed{round(100 * slowdown):02}", slowdown): slowdown
            for slowdown in LEAST_PERCENT
        }
        for seed in range(count):
            protocol = lab.protocol("standard", options, LATENCY_ONLY, seed=seed)
            run = lab.measure(
                protocol, models=[MODEL], libraries=[plain, *names], threads=[THREADS]
            )
            results = {str(result["cell"]["library"]): result for result in good(run.results)}
            for name, slowdown in names.items():
                pairs[slowdown].append((results[plain], results[name]))
            print(
                f"  experiment {seed + 1} of {count}: {run.wall_s:.0f} s; {_shown(pairs)}",
                flush=True,
            )
    raw = {
        str(slowdown): [[brief(result) for result in pair] for pair in slowed_pairs]
        for slowdown, slowed_pairs in pairs.items()
    }
    keep_raw("a_b", options, raw)
    return [_figure(slowdown, slowed_pairs) for slowdown, slowed_pairs in pairs.items()]


def _figure(slowdown: float, pairs: list[Pair]) -> Figure:
    ratios = [ratio(*pair) for pair in pairs]
    launches = [len(result["launches"]) for pair in pairs for result in pair]
    return Figure(
        what=f"pairs in which a slowdown of {100 * slowdown:g} % is found",
        value=100 * sum(map(_is_found, ratios)) / len(pairs),
        unit="%",
        least=LEAST_PERCENT[slowdown],
        baselines=[
            Baseline(
                "the two cells' intervals do not overlap",
                100 * sum(map(_is_apart, pairs)) / len(pairs),
                "%",
            )
        ],
        details={
            "ratios": " ".join(_written(comparison) for comparison in ratios),
            "median ratio": f"{median(comparison.ratio or 0.0 for comparison in ratios):.4f}",
            "launches a cell": f"{min(launches)} to {max(launches)}",
            "pairs with a flagged cell": sum(
                bool(plain["flags"] or slowed["flags"]) for plain, slowed in pairs
            ),
        },
    )


def _is_found(ratio: Ratio) -> bool:
    return ratio.low is not None and ratio.low > 1


def _is_apart(pair: Pair) -> bool:
    plain, slowed = interval(pair[0]), interval(pair[1])
    return plain is not None and slowed is not None and plain[1] < slowed[0]


def _written(ratio: Ratio) -> str:
    if ratio.ratio is None or ratio.low is None or ratio.high is None:
        return "unknown"
    return f"{ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _shown(pairs: dict[float, list[Pair]]) -> str:
    return ", ".join(
        f"{100 * slowdown:g} %: {sum(_is_found(ratio(*pair)) for pair in slowed)} of {len(slowed)}"
        for slowdown, slowed in pairs.items()
    )
