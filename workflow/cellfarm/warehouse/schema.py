"""The schema of the warehouse: schema.sql with the columns of the measures."""

from __future__ import annotations

from pathlib import Path
from string import Template

from ..base.digests import digest
from ..measures import all_columns, all_measures

SCHEMA = Path(__file__).with_name("schema.sql")
#: `combine` of a column -> the SQL function that makes a cell's value from its results. A column without
#: `combine` is in at most one result of a cell: no protocol has two measures that fill it.
_MERGED = {"first": "any_value", "min": "min", "max": "max", "all": "bool_and"}


def schema() -> str:
    """The SQL that makes an empty warehouse."""
    columns = all_columns()
    measures = "".join(
        f"INSERT INTO measures VALUES ('{measure.name}', {position}, {measure.essential},"
        f" {'latency_ms' in measure.fills});\n"
        for position, measure in enumerate(all_measures().values(), start=1)
    )
    return Template(SCHEMA.read_text(encoding="utf-8")).substitute(
        measures=measures,
        columns=" ".join(f"{name} {column.type}," for name, column in columns.items()),
        merged=" ".join(
            f"{_MERGED[column.combine]}({name}) AS {name}," for name, column in columns.items()
        ),
    )


def current_schema() -> str:
    """The digest of the schema that this version makes."""
    return digest(schema())
