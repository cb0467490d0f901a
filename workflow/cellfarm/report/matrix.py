"""Who wins where, as the page's table: models down, settings and threads across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cellfarm.analysis.ranking import Ranking
from cellfarm.report.panels import Arrangement
from cellfarm.report.wording import count, milliseconds, percent, times


@dataclass(frozen=True, slots=True)
class Verdict:
    """One square of the matrix. `kind` is win, tie, undecided, alone or none."""

    kind: str
    libraries: tuple[str, ...] = ()
    note: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """`groups` is the upper header: (setting, columns below it); `rows` (model, verdicts)."""

    groups: list[tuple[str, int]]
    columns: list[str]
    rows: list[tuple[str, list[Verdict]]]
    comparisons: int


def build(arrangement: Arrangement, rankings: Sequence[Ranking]) -> Matrix:
    """Arrange the rankings; a square without any result that ranks says so."""
    places = sorted({(cell["setting"], cell["threads"]) for cell in arrangement.cells})
    verdicts = {
        (ranking.model, setting, ranking.threads): verdict(ranking)
        for setting in range(len(arrangement.settings))
        for ranking in arrangement.rankings_of(setting, rankings)
    }
    measured = {(c["model"], c["setting"], c["threads"]) for c in arrangement.cells}
    rows = []
    for model in sorted({cell["model"] for cell in arrangement.cells}):
        line = []
        for place in places:
            empty = Verdict("none", note="none ranks" if (model, *place) in measured else "")
            line.append(verdicts.get((model, *place), empty))
        rows.append((model, line))
    groups = [
        (name, sum(1 for setting, _ in places if setting == position))
        for position, name in enumerate(arrangement.settings)
    ]
    return Matrix(
        groups=groups,
        columns=[count(threads, "thread") for _, threads in places],
        rows=rows,
        comparisons=sum(1 for ranking in rankings if ranking.is_comparison),
    )


def verdict(ranking: Ranking) -> Verdict:
    """What one comparison comes to, in the words of its square."""
    best = ranking.best
    detail = " · ".join(
        f"{entry.library} {milliseconds(entry.latency_ms)} ({times(entry.ratio_to_best)})"
        for entry in ranking.entries
    )
    if not ranking.is_comparison:
        return Verdict("alone", (best.library,), "no rival", detail)
    if not ranking.decided:
        return Verdict("undecided", (best.library,), "no interval", detail)
    if ranking.is_tie:
        return Verdict("tie", ranking.winners, "tie", detail)
    return Verdict("win", ranking.winners, f"+{percent(ranking.margin)}", detail)
