"""The tables of the section "What the choice is worth": who wins, and what other choices cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from cellfarm.analysis.effects import effects
from cellfarm.analysis.fragmentation import changes, decided, entropy_bits, shares
from cellfarm.analysis.gap import gaps, regrets, spread
from cellfarm.analysis.pareto import error, front
from cellfarm.analysis.ranking import Ranking
from cellfarm.report.data import Cell
from cellfarm.report.wording import count, milliseconds, percent, scientific, significant, times

#: The most rows that a table of the page shows; the warehouse has all.
MOST_ROWS = 60
#: A distribution of fewer ratios has a range only, no median.
_MIN_RATIOS = 3

Table = dict[str, Any]


def answer_sets(cells: Sequence[Cell], rankings: Sequence[Sequence[Ranking]]) -> list[list[Table]]:
    """The tables without flagged results, and the tables with them if they differ.

    Args:
        rankings: without and with flagged cells.
    """
    without_flagged, with_flagged = rankings
    tables = answers(cells, without_flagged)
    tables_with_flagged = answers(cells, with_flagged, flagged=True)
    return [tables] if tables == tables_with_flagged else [tables, tables_with_flagged]


def answers(
    cells: Sequence[Cell], rankings: Sequence[Ranking], flagged: bool = False
) -> list[Table]:
    """Tables for the page: heading, text, columns, rows, n. Empty tables are left out.

    Args:
        cells: with the columns of the view `cells`.
        rankings: of the cells that rank.
        flagged: whether flagged results rank, too, as they do in the rankings.
    """
    tables = [
        _wins(rankings),
        _changes(rankings),
        _gaps(rankings),
        _regrets(rankings),
        _effects(cells, flagged),
        _fronts(cells, flagged),
    ]
    return [table for table in tables if table["rows"]]


def truncation_note(rows: Sequence[Any]) -> str:
    """The sentence that says that a table shows its first rows only; empty if it shows all."""
    return f" The first {MOST_ROWS} of {len(rows)}." if len(rows) > MOST_ROWS else ""


def _wins(rankings: Sequence[Ranking]) -> Table:
    winners = shares(rankings)
    bits = entropy_bits(winners)
    most = math.log2(len(winners)) if len(winners) > 1 else 0.0
    entropy = (
        f" Entropy of the winner: {significant(bits, 2)} bits, of {significant(most, 2)} if all "
        f"{len(winners)} won alike."
        if bits is not None and most
        else ""
    )
    return {
        "id": "wins",
        "heading": "Who wins how often",
        "text": "Of the comparisons that the intervals decide; a tie of two counts as half a win for "
        f"each.{entropy}",
        "n": count(len(decided(rankings)), "comparison"),
        "columns": [("Library", False), ("Wins", True), ("Share", True), ("Beyond doubt", True)],
        "rows": [
            [winner.library, significant(winner.wins), percent(winner.share), str(winner.sole)]
            for winner in winners
        ],
    }


def _changes(rankings: Sequence[Ranking]) -> Table:
    axes = [change for change in changes(rankings) if change.pairs]
    return {
        "id": "changes",
        "heading": "How the winner changes",
        "text": "Pairs of comparisons that differ in one thing only: how often no library wins both. Ties "
        "that share a library do not count as a change.",
        "n": count(sum(change.pairs for change in axes), "pair"),
        "columns": [("What differs", False), ("Pairs", True), ("Another winner", True),
                    ("Share", True)],
        "rows": [
            [change.axis, str(change.pairs), str(change.changed), percent(change.share)]
            for change in axes
        ],
    }  # fmt: skip


def _gaps(rankings: Sequence[Ranking]) -> Table:
    all_gaps = gaps(rankings)
    worst_gaps: dict[str, list[float]] = defaultdict(list)
    second_gaps: dict[str, list[float]] = defaultdict(list)
    several_devices = len({gap.ranking.device for gap in all_gaps}) > 1
    for gap in all_gaps:
        device = [f"device {gap.ranking.device}"] if several_devices else []
        for name in ("all", *device, gap.ranking.model):
            worst_gaps[name].append(gap.worst)
            second_gaps[name].append(gap.second)
    rows = []
    for name in list(worst_gaps)[:MOST_ROWS]:
        worst, second = spread(worst_gaps[name]), spread(second_gaps[name])
        if worst and second:
            rows.append([name, str(worst.count), times(second.median), times(worst.median),
                         times(worst.largest)])  # fmt: skip
    return {
        "id": "gap",
        "heading": "Best against the rest",
        "text": "How many times as long the second and the slowest library take as the fastest; medians "
        "over comparisons, and the widest gap.",
        "n": count(len(all_gaps), "comparison"),
        "columns": [("Of", False), ("Comparisons", True), ("Second", True), ("Slowest", True),
                    ("Widest", True)],
        "rows": rows,
    }  # fmt: skip


def _regrets(rankings: Sequence[Ranking]) -> Table:
    all_regrets = regrets(rankings)
    return {
        "id": "regret",
        "heading": "One library everywhere",
        "text": "How much longer it takes than the best for each: geometric mean and worst, where it runs "
        "and ranks. What it does not run is no number: it is missing from the covered ones.",
        "n": count(all_regrets[0].comparisons if all_regrets else 0, "comparison"),
        "columns": [("Library", False), ("Covered", True), ("Mean regret", True), ("Worst", True)],
        "rows": [
            [regret.library, f"{regret.covered} of {regret.comparisons}", percent(regret.mean),
             percent(regret.worst)]
            for regret in all_regrets
        ],
    }  # fmt: skip


def _effects(cells: Sequence[Cell], flagged: bool) -> Table:
    all_effects = effects(cells, flagged)
    rows = []
    for effect in all_effects:
        ratios = effect.ratios
        middle = times(median(ratios)) if len(ratios) >= _MIN_RATIOS else "n/a"
        rows.append([effect.what, str(len(ratios)), times(min(ratios)), middle, times(max(ratios))])
    return {
        "id": "effects",
        "heading": "Library, variant, processor, threads",
        "text": "What changing one thing does to latency: ratios between cells that differ in that alone. "
        "Above 1, the change makes it faster; of two libraries the slower stands over the faster. A "
        f"median of fewer than {_MIN_RATIOS} is not given.",
        "n": count(sum(len(effect.ratios) for effect in all_effects), "pair"),
        "columns": [("Change", False), ("Pairs", True), ("Least", True), ("Median", True),
                    ("Most", True)],
        "rows": rows,
    }  # fmt: skip


def _fronts(cells: Sequence[Cell], flagged: bool) -> Table:
    groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell["model"], cell["device"]].append(cell)
    rows = []
    for (model, device), group in groups.items():
        best = sorted(front(group, flagged), key=lambda cell: cell["latency_ms"])
        rows += [
            [model, device, f"{cell['library']} {cell['variant']} {cell['processor']} "
             f"t{cell['threads']}", milliseconds(cell["latency_ms"]),
             f"{significant(cell['artifact_bytes'] / 1e6)} MB",
             f"{significant(cell['peak_rss_mb'])} MB", scientific(error(cell))]
            for cell in best
        ]  # fmt: skip
    return {
        "id": "front",
        "heading": "Speed, size, memory, error",
        "text": "The cells that no other of the same model and device equals or beats in all four. The "
        "error is 1 less the cosine with FP32, on held-out inputs where there are any."
        + truncation_note(rows),
        "n": count(len(rows), "cell"),
        "columns": [("Model", False), ("Device", False), ("Cell", False), ("Latency", True),
                    ("Artifact", True), ("Peak memory", True), ("Error", True)],
        "rows": rows[:MOST_ROWS],
    }  # fmt: skip
