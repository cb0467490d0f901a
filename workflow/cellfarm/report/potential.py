"""Operators across libraries: their shares of the time, and what the best of each would gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cellfarm.analysis.operators import Operators, Potential, potentials, shares
from cellfarm.analysis.ranking import Row
from cellfarm.report.answers import MOST_ROWS, Table, truncation_note
from cellfarm.report.wording import count, milliseconds, percent, times

#: The most types of operators that the table names for a library.
_MAX_TYPES = 6


def tables(cells: Sequence[Row], operators: Mapping[str, Operators]) -> list[Table]:
    """The tables for the page (see cellfarm.report.answers); empty ones are left out."""
    all_tables = [_types(cells, operators), _potential(potentials(cells, operators))]
    return [table for table in all_tables if table["rows"]]


def _types(cells: Sequence[Row], operators: Mapping[str, Operators]) -> Table:
    rows = []
    for library, by_type in shares(cells, operators).items():
        largest = list(by_type.items())[:_MAX_TYPES]
        rows.append([library, ", ".join(f"{kind} {percent(share)}" for kind, share in largest)])
    return {
        "id": "operator-types",
        "heading": "Where each library spends its time",
        "text": "The share of an inference's operators by type: medians over the library's cells, which "
        "therefore do not add up to the whole.",
        "n": count(len(rows), "library"),
        "columns": [("Library", False), ("Share of the operators' time", False)],
        "rows": rows,
    }


def _potential(bounds: Sequence[Potential]) -> Table:
    ordered = sorted(bounds, key=lambda bound: -bound.gain)
    rows = [
        [bound.setting["model"], _setting(bound), bound.best, milliseconds(bound.best_ms),
         milliseconds(bound.composed_ms), times(bound.gain), percent(bound.unmatched), _wins(bound),
         ", ".join(bound.left_out) or "none"]
        for bound in ordered
    ]  # fmt: skip
    return {
        "id": "potential",
        "heading": "Each operator from its best library",
        "text": "The operators' sum of the best library against a composition: of every convolution and "
        "matrix product the shortest time that any library takes for it, matched by the order of execution "
        "and, in parallel branches, by time; of all other operators together the shortest. An upper bound "
        "of what could be gained, as far as the matching is right: nobody "
        "can put libraries together without converting layouts, and what one fuses into a convolution is "
        "missing from its rest. Libraries that execute another sequence are not matched."
        + truncation_note(rows),
        "n": count(len(rows), "comparison"),
        "columns": [("Model", False), ("Setting", False), ("Best library", False), ("Its sum", True),
                    ("Composed", True), ("Gain, at most", True), ("Not matched", True),
                    ("Operators won", False), ("Other sequence", False)],
        "rows": rows[:MOST_ROWS],
    }  # fmt: skip


def _setting(bound: Potential) -> str:
    setting = bound.setting
    return f"{setting['variant']} {setting['processor']} t{setting['threads']} {setting['device']}"


def _wins(bound: Potential) -> str:
    """`ncnn 12, litert 8`, the most wins first."""
    ordered = sorted(bound.wins.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{library} {number}" for library, number in ordered)
