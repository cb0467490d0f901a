"""The schema of the warehouse: schema.sql with the columns that the measures spell."""

from __future__ import annotations

from pathlib import Path
from string import Template

from ..base.digests import digest
from ..measures import all_columns, all_measures

SCHEMA = Path(__file__).with_name("schema.sql")
#: How a cell's value comes from its results. Measures that fill a column without a `combine` do not stand
#: in one protocol together: at most one of a cell's results has it.
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
