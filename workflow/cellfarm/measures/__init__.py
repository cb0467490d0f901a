"""The measures: every folder here with a measure.yaml is one, and nothing else names it.

A folder holds
    measure.yaml  what is asked of a cell, and the columns that answer; nothing else spells a column
    device.py     what the process on the device does; shipped with the runner
    host.py       which launches are due, how they are judged and summarised; pure

The warehouse's schema, the data dictionary, the report's and the command line's tables are made from the
columns (see docs/adding-a-measure.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..base.documents import load_yaml
from ..base.errors import UserError

#: Where the folders stand; a test looks elsewhere.
FOLDER = Path(__file__).resolve().parent


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A column of the views `cells` and `history`; unknown is NULL.

    Args:
        type: DuckDB's.
        means: for the data dictionary.
        unit: "1" is of a share.
        better: which direction is better.
        title: how a person reads it: on a cell's page, and as a heading; none for what is shown with
            another column only.
        interval: the columns with the two ends of its interval.
        format: how its numbers are written, where not with three significant digits: `fixed` has 2 decimals,
            `exact` 6, `error` a power of ten, `signed` is a share with a sign.
        table: whether the report's table of cells has it.
        summary: its heading in the table that a run ends with; none for no place there.
        note: a line below that table, which is of all its rows: "{} labelled pictures".
        combine: what a cell has of it where several of its measures fill it: the `first` in the order of
            measures, or the `min`, `max` or `all` of them.
        emulated: whether a cell has it that was run by an emulator; if it is not said, of measures
            that are not timed.
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
        order: of its columns and summaries among those of all measures.
        essential: whether a cell is no better than this measure's status; where another one fails, the cell
            says why and keeps the rest.
        timed: whether it needs a quiet device.
        tasks: of the models that it is asked of; none named: all.
        ranks: the column that ranks cells.
        reason: the column that says why a cell has no answer.
        defaults: its settings, where a protocol lists it without.
        reads: files of a library's folder that it depends on, beside the modules that it imports.
        shares: columns that another measure spells and this one fills, too.
        columns: those that it spells.
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
        UserError: a measure.yaml that is not what it should be.
    """
    found = sorted((_read(path) for path in files()), key=lambda measure: measure.order)
    measures = {measure.name: measure for measure in found}
    _check(measures)
    return measures


@cache
def all_columns() -> dict[str, Column]:
    """Every column that a measure spells, in their order."""
    return {name: column for _, name, column in _spelled(all_measures())}


def files() -> list[Path]:
    """Every measure.yaml: what the schema of the warehouse depends on."""
    return sorted(FOLDER.glob("*/measure.yaml"))


def _spelled(measures: Mapping[str, Measure]) -> Iterator[tuple[Measure, str, Column]]:
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
    """Raise one UserError for a column that is spelled twice, or named and not spelled."""
    by: dict[str, str] = {}
    for measure, name, _ in _spelled(measures):
        if name in by:
            raise UserError(f"the measures '{by[name]}' and '{measure.name}' both spell '{name}'")
        if not name.isidentifier() or name != name.lower():
            raise UserError(f"the measure '{measure.name}': '{name}' is no name of a column")
        by[name] = measure.name
    for measure in measures.values():
        ends = [end for column in measure.columns.values() for end in column.interval or ()]
        for name in (*measure.shares, *ends, *filter(None, [measure.ranks, measure.reason])):
            if name not in by:
                raise UserError(f"the measure '{measure.name}': no measure spells '{name}'")
