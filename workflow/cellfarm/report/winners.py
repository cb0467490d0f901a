"""The table of winners: a row per model, a column per setting and number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cellfarm.analysis.ranking import Entry, Ranking
from cellfarm.report.panels import Arrangement, setting_of_cell, setting_of_ranking
from cellfarm.report.wording import count, milliseconds, percent, times

#: The mark of a comparison between results that were not measured together.
ACROSS = "⇄ different experiments"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A square of the matrix. `kind` is win, tie, undecided, alone or none.

    `marks` are reasons to doubt it: flags, different experiments.
    """

    kind: str
    libraries: tuple[str, ...] = ()
    note: str = ""
    detail: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    """The table of winners.

    `groups` is the upper header: (setting, number of its columns). `places` are (position of the
    setting, number of threads) of the columns. `rows` are (model, verdicts).
    """

    groups: list[tuple[str, int]]
    columns: list[str]
    places: list[tuple[int, int]]
    rows: list[tuple[str, list[Verdict]]]
    comparisons: int

    @property
    def crosses_experiments(self) -> bool:
        """Whether any square compares results of different experiments."""
        return any(ACROSS in verdict.marks for _, row in self.rows for verdict in row)


def build(arrangement: Arrangement, rankings: Sequence[Ranking]) -> Matrix:
    """Arrange the rankings; a square whose results do not rank says so."""
    places = sorted({(cell["setting"], cell["threads"]) for cell in arrangement.cells})
    settings = {setting_of_cell(cell): cell["setting"] for cell in arrangement.cells}
    verdicts = {
        (cell["model"], cell["setting"], cell["threads"]): Verdict("none", note="none ranks")
        for cell in arrangement.cells
    }
    for ranking in rankings:
        setting = settings[setting_of_ranking(ranking)]
        verdicts[ranking.model, setting, ranking.threads] = verdict(ranking)
    rows = [
        (model, [verdicts.get((model, *place), Verdict("none")) for place in places])
        for model in sorted({cell["model"] for cell in arrangement.cells})
    ]
    groups = [
        (name, sum(1 for setting, _ in places if setting == position))
        for position, name in enumerate(arrangement.settings)
    ]
    return Matrix(
        groups=groups,
        columns=[count(threads, "thread") for _, threads in places],
        places=places,
        rows=rows,
        comparisons=sum(1 for ranking in rankings if ranking.is_comparison),
    )


def verdict(ranking: Ranking) -> Verdict:
    """The outcome of a comparison, in the words of its square."""
    best = ranking.best
    detail = " · ".join(_detail(entry) for entry in ranking.entries)
    marks = _marks(ranking)
    if not ranking.is_comparison:
        return Verdict("alone", (best.library,), "no rival", detail, marks)
    if ranking.faster_flagged:
        detail += f" · flagged, with a lower latency: {', '.join(ranking.faster_flagged)}"
        return Verdict("undecided", (best.library,), "a flagged is faster", detail, marks)
    if not ranking.decided:
        return Verdict("undecided", (best.library,), "no interval", detail, marks)
    if ranking.is_tie:
        return Verdict("tie", ranking.winners, "tie", detail, marks)
    second = ranking.entries[1]
    note = f"+{percent(ranking.margin)}"
    if second.ratio_low is not None and second.ratio_high is not None:
        digits = 1 if second.ratio_high < 1.1 else 0
        low, high = ((ratio - 1) * 100 for ratio in (second.ratio_low, second.ratio_high))
        note += f" ({low:.{digits}f} to {high:.{digits}f} %)"
    return Verdict("win", ranking.winners, note, detail, marks)


def _detail(entry: Entry) -> str:
    ratio = times(entry.ratio_to_best)
    if entry.ratio_low is not None and entry.ratio_high is not None:
        ratio += f", {times(entry.ratio_low)} to {times(entry.ratio_high)}"
    flags = f", {', '.join(entry.flags)}" if entry.flags else ""
    return f"{entry.library} {milliseconds(entry.latency_ms)} ({ratio}{flags})"


def _marks(ranking: Ranking) -> tuple[str, ...]:
    """The winners' flags, and whether they or the second were measured in different experiments."""
    winners = [entry for entry in ranking.entries if entry.library in ranking.winners]
    flags = sorted({flag for entry in winners for flag in entry.flags})
    marks = [f"⚑ {', '.join(flags)}"] if flags else []
    if any(entry.crosses_experiments for entry in (*winners, *ranking.entries[:2])):
        marks.append(ACROSS)
    return tuple(marks)
