"""The measures: each folder here with a measure.yaml is a measure; nothing else lists them.

A folder holds
    measure.yaml  the question asked of a cell, and the columns with its answer, defined nowhere else
    device.py     what the process on the device does; shipped with the runner
    host.py       which launches are due, how they are judged and summarised; pure

The columns make the warehouse's schema, the data dictionary, and the tables of the report and the
command line (see docs/adding-a-measure.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..base.documents import load_yaml
from ..base.errors import UserError

#: The folder of the measures; a test sets another.
FOLDER = Path(__file__).resolve().parent


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A column of the views `cells` and `history`; unknown is NULL.

    Args:
        type: DuckDB's.
        means: its text in the data dictionary.
        unit: "1" for a share.
        better: which direction is better.
        title: its heading, also on a cell's page; none for a column that is shown only with another.
        interval: the columns with the two ends of its interval.
        format: how its numbers are written, if not with three significant digits: `fixed` has 2 decimals,
            `exact` 6, `error` a power of ten, `signed` is a share with a sign.
        table: whether the report's table of cells has it.
        summary: its heading in the table at the end of a run; none: it is not in that table.
        note: a line below that table, for all its rows: "{} labelled pictures".
        combine: a cell's value where several measures fill the column: the `first` in the order of
            measures, or the `min`, `max` or `all` of them.
        emulated: whether it is filled for cells run by an emulator; by default only for measures that
            are not timed.
    """

    type: Literal["DOUBLE", "INTEGER", "BIGINT", "VARCHAR", "BOOLEAN"]
    means: str
    unit: str | None = None
    better: Literal["lower", "higher"] | None = None
    title: str | None = None
    interval: tuple[str, str] | None = None
    format: Literal["fixed", "exact", "error", "signed"] | None = None
    table: bool = False
    summary: str | None = None
    note: str | None = None
    combine: Literal["first", "min", "max", "all"] = "first"
    emulated: bool | None = None


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A question asked of a cell.

    Args:
        order: position of its columns and summaries among all measures.
        essential: whether a cell fails when this measure fails; if a measure that is not essential fails,
            the cell gives the reason and keeps the rest.
        timed: whether it needs a quiet device.
        tasks: of the models to which it applies; empty: all.
        ranks: the column that ranks cells.
        reason: the column that says why a cell has no answer.
        defaults: its settings where a protocol gives none.
        reads: files of a library's folder that it depends on, besides the modules that it imports.
        shares: columns that another measure defines and this one also fills.
        columns: those that it defines.
    """

    name: str
    title: str
    about: str
    order: int
    essential: bool
    timed: bool
    tasks: tuple[str, ...] = ()
    ranks: str | None = None
    reason: str | None = None
    defaults: dict[str, Any] = {}
    reads: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    columns: dict[str, Column] = {}

    @property
    def fills(self) -> tuple[str, ...]:
        """The columns that its results have."""
        return (*self.columns, *self.shares)

    @property
    def folder(self) -> Path:
        return FOLDER / self.name


@cache
def all_measures() -> dict[str, Measure]:
    """Every measure by name, in their order.

    Raises:
        UserError: a measure.yaml is invalid.
    """
    in_order = sorted(map(_read, files()), key=lambda measure: measure.order)
    measures = {measure.name: measure for measure in in_order}
    _check(measures)
    return measures


@cache
def all_columns() -> dict[str, Column]:
    """Every column, in the order of the measures that define them."""
    return {name: column for _, name, column in _definitions(all_measures())}


def files() -> list[Path]:
    """Every measure.yaml; the schema of the warehouse depends on them."""
    return sorted(FOLDER.glob("*/measure.yaml"))


def _definitions(measures: Mapping[str, Measure]) -> Iterator[tuple[Measure, str, Column]]:
    for measure in measures.values():
        for name, column in measure.columns.items():
            yield measure, name, column


def _read(path: Path) -> Measure:
    try:
        measure = msgspec.convert(load_yaml(path), Measure)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {error}") from error
    if measure.name != path.parent.name:
        raise UserError(
            f"{path}: key 'name': expected '{path.parent.name}', as the folder is called; "
            f"found '{measure.name}'"
        )
    columns = {
        name: column
        if column.emulated is not None
        else msgspec.structs.replace(column, emulated=not measure.timed)
        for name, column in measure.columns.items()
    }
    return msgspec.structs.replace(measure, columns=columns)


def _check(measures: Mapping[str, Measure]) -> None:
    """Raise a UserError for a column that is defined twice, or named and not defined."""
    definers: dict[str, str] = {}
    for measure, name, _ in _definitions(measures):
        if name in definers:
            raise UserError(
                f"the measures '{definers[name]}' and '{measure.name}' both spell '{name}'"
            )
        if not name.isidentifier() or name != name.lower():
            raise UserError(f"the measure '{measure.name}': '{name}' is no name of a column")
        definers[name] = measure.name
    for measure in measures.values():
        ends = [end for column in measure.columns.values() for end in column.interval or ()]
        for name in (*measure.shares, *ends, *filter(None, [measure.ranks, measure.reason])):
            if name not in definers:
                raise UserError(f"the measure '{measure.name}': no measure spells '{name}'")
