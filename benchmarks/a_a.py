"""A cell against itself in one experiment, 100 times: how often it is called different.

Copies of a library under other names (the same modules, environment and artifact) are cells of one
experiment. Copies 1 and 2, 3 and 4 ... are compared as the product compares cells: the interval of
the ratio from their common rounds, at the 5 % level. No launch is in two comparisons.
Each experiment has its own seed, so that the orders of launches differ.

Protocol `quick` without cold starts and profiles, six launches (as many as ranks need) of a few samples.
Baseline, from the same samples: a Mann-Whitney test that takes all samples for independent.
"""

from __future__ import annotations

from typing import Any

from cellfarm.analysis.ratios import different, paired_ratio
from scipy.stats import mannwhitneyu

from .figures import Baseline, Figure, Options, keep_raw, shown
from .lab import LATENCY_ONLY, Lab, open_lab
from .results import brief, good, launches_of, ratio, warm_by_round
from .variants import add_copy

LEAST_PERCENT, TARGET_PERCENT = 3.0, 8.0
PAIRS = 100
PAIRS_PER_EXPERIMENT = 10
MODEL, LIBRARY, THREADS = "squeezenet1_1", "ncnn", 1
LEVEL = 0.05
#: The same number of launches for all cells, and few samples, to keep it short.
LATENCY: dict[str, Any] = {
    "launches": {"min": 6, "max": 6},
    "samples": {"min": 20, "max": 20, "seconds": 0},
}
Pair = tuple[dict[str, Any], dict[str, Any]]


def measure(options: Options) -> list[Figure]:
    pair_count = options.runs or (4 if options.quick else PAIRS)
    size = min(2 if options.quick else PAIRS_PER_EXPERIMENT, pair_count)
    pairs: list[Pair] = []
    with open_lab("a_a") as lab:
        names = [add_copy(lab, LIBRARY, f"copy{number:02}") for number in range(2 * size)]
        while len(pairs) < pair_count:
            pairs += _experiment(lab, options, names, seed=len(pairs))
            differing = sum(bool(different(ratio(*pair))) for pair in pairs)
            print(f"  {len(pairs)} of {pair_count} pairs, {differing} called different", flush=True)
    del pairs[pair_count:]
    keep_raw("a_a", options, [[brief(result) for result in pair] for pair in pairs])
    return [_figure(pairs)]


def _experiment(lab: Lab, options: Options, names: list[str], seed: int) -> list[Pair]:
    protocol = lab.protocol("quick", options, LATENCY_ONLY, LATENCY, seed=seed)
    run = lab.measure(protocol, models=[MODEL], libraries=names, threads=[THREADS])
    results = sorted(good(run.results), key=lambda result: str(result["cell"]["library"]))
    return list(zip(results[::2], results[1::2], strict=True))


def _figure(pairs: list[Pair]) -> Figure:
    ratios = [ratio(*pair) for pair in pairs]
    differing = [comparison for comparison in ratios if different(comparison)]
    distances = sorted(abs((comparison.ratio or 1.0) - 1) for comparison in ratios)
    flagged = sum(bool(first["flags"] or second["flags"]) for first, second in pairs)
    unflagged = [
        comparison
        for comparison, (first, second) in zip(ratios, pairs, strict=True)
        if not first["flags"] and not second["flags"]
    ]
    return Figure(
        what=f"comparisons of a cell with itself that are called different ({len(pairs)} pairs)",
        value=100 * len(differing) / len(pairs),
        unit="%",
        least=LEAST_PERCENT,
        target=TARGET_PERCENT,
        baselines=[
            Baseline("Mann-Whitney test over all samples", 100 * _naive(pairs) / len(pairs), "%")
        ],
        details={
            "called different": " ".join(_interval(comparison) for comparison in differing)
            or "none",
            "rounds in a comparison": ", ".join(
                sorted({str(comparison.rounds) for comparison in ratios})
            ),
            **_with_fewer(pairs),
            "distance from 1": f"median {100 * distances[len(distances) // 2]:.2f} %, "
            f"largest {100 * distances[-1]:.1f} %",
            "pairs with a flagged cell": flagged,
            "called different among the unflagged": f"{sum(map(bool, map(different, unflagged)))}"
            f" of {len(unflagged)}",
        },
    )


def _with_fewer(pairs: list[Pair]) -> dict[str, str]:
    """The same with the first rounds only, as for cells that were precise enough early."""
    details = {}
    for rounds in (3, 4):
        verdicts = [
            different(paired_ratio(*({n: ms for n, ms in warm_by_round(result).items() if n < rounds}
                                     for result in pair)))
            for pair in pairs
        ]  # fmt: skip
        details[f"with the first {rounds} rounds only"] = f"{sum(map(bool, verdicts))} different"
    return details


def _interval(ratio: Any) -> str:
    return f"{shown(ratio.ratio)} ({ratio.low:.3f} to {ratio.high:.3f})"


def _naive(pairs: list[Pair]) -> int:
    """Number of comparisons that a test over all samples calls different."""
    samples = [
        [[ms for launch in launches_of(result) for ms in launch["warm_ms"]] for result in pair]
        for pair in pairs
    ]
    return sum(bool(mannwhitneyu(first, second).pvalue < LEVEL) for first, second in samples)
