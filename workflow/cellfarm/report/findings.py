"""What the numbers say, in sentences; there is none that the data do not support. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

from cellfarm.analysis.ranking import (
    COMPARISON_COLUMNS,
    Ranking,
    Row,
    count_flagged,
    is_slower,
    ranks,
)
from cellfarm.report.wording import count, milliseconds, times


def findings(rows: Sequence[Row], rankings: Sequence[Ranking]) -> list[str]:
    """The report's findings, the most important first; at least one sentence.

    Args:
        rows: of the view `cells`.
        rankings: of the rows, without flagged ones.
    """
    comparisons = [ranking for ranking in rankings if ranking.is_comparison]
    if not rows:
        return ["Nothing has been measured yet."]
    if not comparisons:
        return ["Nothing can be compared yet: no model has results that rank from two libraries."]
    sentences = [
        who_wins(comparisons, rows),
        left_out(rows),
        nobody_everywhere(comparisons),
        spread(comparisons, rows),
        cold_against_warm(rows),
        fast_but_unranked(rows, rankings),
        across_experiments(comparisons),
    ]
    return [sentence for sentence in sentences if sentence]


def setting_words(rows: Sequence[Row]) -> str:
    """What distinguishes the comparisons: 'model × threads', and other columns that vary."""
    columns = [
        column
        for column in COMPARISON_COLUMNS
        if column in ("model", "threads") or _varies(rows, column)
    ]
    return " × ".join(columns)


def who_wins(comparisons: Sequence[Ranking], rows: Sequence[Row]) -> str:
    """Who is fastest in how many comparisons, and how many of them end in a tie."""
    wins = sole_wins(comparisons)
    total = len(comparisons)
    ties = sum(1 for ranking in comparisons if ranking.decided and ranking.is_tie)
    doubted = sum(1 for ranking in comparisons if ranking.faster_flagged)
    unknown = sum(1 for ranking in comparisons if not ranking.decided) - doubted
    places = f"{count(total, 'comparison')} ({setting_words(rows)})"
    tail = "".join(
        [
            f"; {ties} {'ends' if ties == 1 else 'end'} in a tie" if ties else "",
            f"; {unknown} cannot be decided without intervals" if unknown else "",
            f"; {doubted} cannot be decided as a flagged result is faster" if doubted else "",
        ]
    )
    if not wins:
        return f"No library is clearly fastest in any of {places}{tail}."
    most = max(wins.values())
    leaders = sorted(library for library, number in wins.items() if number == most)
    verb = "is" if len(leaders) == 1 else "are each"
    return f"{listed(leaders)} {verb} the fastest in {most} of {places}{tail}."


def left_out(rows: Sequence[Row]) -> str | None:
    """How many results do not rank because of a flag, if that is the majority: a win says less then."""
    flagged, ranked = count_flagged(rows), sum(map(ranks, rows))
    if flagged <= ranked:
        return None
    return f"{flagged} of {flagged + ranked} correct results are flagged and take no part."


def nobody_everywhere(comparisons: Sequence[Ranking]) -> str | None:
    """That the choice depends on the model, if several libraries win somewhere."""
    wins = sole_wins(comparisons)
    if len(wins) < 2:
        return None
    ordered = sorted(wins.items(), key=lambda item: (-item[1], item[0]))
    return f"No library wins everywhere: {listed([f'{name} wins {n}' for name, n in ordered])}."


def spread(comparisons: Sequence[Ranking], rows: Sequence[Row]) -> str | None:
    """How far the slowest correct library is from the fastest, where the gap is significant."""
    clear = [ranking for ranking in comparisons if is_slower(ranking.best, ranking.worst) is True]
    if not clear:
        return None
    widest = max(clear, key=lambda ranking: ranking.worst.ratio_to_best)
    where = (
        f"{place(widest, rows)}: {widest.best.library} {milliseconds(widest.best.latency_ms)}, "
        f"{widest.worst.library} {milliseconds(widest.worst.latency_ms)}"
    )
    if len(clear) == 1:
        return (
            f"The slowest library takes {times(widest.worst.ratio_to_best)} as long as the fastest"
            f" on {where}."
        )
    ratios = [ranking.worst.ratio_to_best for ranking in clear]
    return (
        f"The slowest library takes {times(min(ratios))} to {times(max(ratios))} as long as the "
        f"fastest (median {times(median(ratios))}); the gap is widest on {where}."
    )


def cold_against_warm(rows: Sequence[Row]) -> str | None:
    """How much longer a cold start takes than a warm inference."""
    ratios = [
        row["cold_total_ms"] / row["latency_ms"]
        for row in rows
        if ranks(row) and row.get("cold_total_ms")
    ]
    if len(ratios) < 3:  # a median of two is not a finding
        return None
    return (
        f"A cold start takes {times(median(ratios))} as long as a warm inference "
        f"(median of {count(len(ratios), 'cell')}, {times(min(ratios))} to {times(max(ratios))})."
    )


def fast_but_unranked(rows: Sequence[Row], rankings: Sequence[Ranking]) -> str | None:
    """That in some comparisons the lowest latency does not rank, and why."""
    best_ms = {_comparison(ranking): ranking.best.latency_ms for ranking in rankings}
    faster: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for row in rows:
        comparison = tuple(row.get(column) for column in COMPARISON_COLUMNS)
        latency_ms = row.get("latency_ms")
        if latency_ms and not ranks(row) and latency_ms < best_ms.get(comparison, 0):
            faster[comparison].add(_doubt(row))
    if not faster:
        return None
    reasons = sorted(set().union(*faster.values()))
    return (
        f"In {count(len(faster), 'comparison')} the lowest latency does not count: "
        f"its result is {listed(reasons, 'or')}."
    )


def across_experiments(comparisons: Sequence[Ranking]) -> str | None:
    """That some comparisons are between results that were not measured together."""
    number = sum(1 for ranking in comparisons if ranking.crosses_experiments)
    if not number:
        return None
    verb = "is" if number == 1 else "are"
    return (
        f"{count(number, 'comparison')} {verb} of results from different experiments: those are "
        "comparable only through the calibration load."
    )


def sole_wins(rankings: Sequence[Ranking]) -> Counter[str]:
    """Library -> number of comparisons that it won without a tie."""
    winners = (ranking.sole_winner for ranking in rankings)
    return Counter(winner for winner in winners if winner is not None)


def place(ranking: Ranking, rows: Sequence[Row]) -> str:
    """The setting of a comparison: 'resnet50, 2 threads', and other columns that vary."""
    words = [ranking.model, count(ranking.threads, "thread")]
    for column in COMPARISON_COLUMNS:
        if column not in ("model", "threads") and _varies(rows, column):
            words.append(str(getattr(ranking, column)))
    return ", ".join(words)


def listed(words: Sequence[str], last: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _varies(rows: Sequence[Row], column: str) -> bool:
    return len({row.get(column) for row in rows}) > 1


def _comparison(ranking: Ranking) -> tuple[object, ...]:
    return tuple(getattr(ranking, column) for column in COMPARISON_COLUMNS)


def _doubt(row: Row) -> str:
    """Why a row does not rank."""
    if row.get("status") != "ok":
        return str(row.get("status"))
    return "emulated" if row.get("emulated") else "flagged"
