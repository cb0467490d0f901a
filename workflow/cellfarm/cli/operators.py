"""`cellfarm operators`: the same operators of a model in each library."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..analysis.operators import Potential, potentials
from ..base.cells import threads_text
from ..base.documents import suggestion
from ..base.errors import UserError
from ..base.project import Project
from ..warehouse import connect, records
from ..warehouse.reading import operators
from .tables import plain_table, wide_console

_COLUMNS = (
    "key", "model", "library", "library_version", "variant", "device", "processor", "threads",
    "protocol", "status", "flags", "emulated", "latency_ms",
)  # fmt: skip


def print_operators(project: Project, model: str) -> None:
    """Print the operators that a model has in common in several libraries, with their times.

    Raises:
        UserError: there is no warehouse, or nothing to match.
    """
    with connect(project.warehouse) as connection:
        sql = f"SELECT {', '.join(_COLUMNS)} FROM cells WHERE model = ?"
        cells = records(connection.execute(sql, [model]))
        if not cells:
            models = connection.execute("SELECT DISTINCT model FROM cells ORDER BY 1").fetchall()
            raise _unknown(model, [name for (name,) in models])
        matched = potentials(cells, operators(connection, [cell["key"] for cell in cells]))
    if not matched:
        raise UserError(
            f"{model}: no two libraries of the last run have profiles of the same sequence of operators"
        )
    console = wide_console()
    for potential in matched:
        console.print(_table(potential))
        console.print(
            f"  {escape(potential.best)} takes {potential.best_ms:.2f} ms, the best of each at least "
            f"{potential.composed_ms:.2f}: {potential.gain:.2f} times as fast at most; "
            f"{100 * potential.unmatched:.0f} % of it is not matched"
        )
        if potential.left_out:
            console.print(f"  [dim]Another sequence: {escape(', '.join(potential.left_out))}[/]")


def _unknown(model: str, known: list[str]) -> UserError:
    return UserError(
        f"{model}: not among the models of the last run{suggestion(model, known)}; there are: "
        f"{', '.join(known) or 'none'}"
    )


def _table(potential: Potential) -> Table:
    setting = potential.setting
    title = (
        f"{setting['model']} ({setting['variant']}, {setting['processor']}, "
        f"{threads_text(setting['threads'])}, {setting['device']}), ms"
    )
    libraries = sorted(potential.operators[0].times_ms)
    columns = [("", True), ("operator", False), ("node", False)]
    columns += [(escape(library), True) for library in libraries]
    table = plain_table(escape(title), columns)
    for number, operator in enumerate(potential.operators, start=1):
        times = (
            f"[bold]{ms:.3f}[/]" if library == operator.best else f"{ms:.3f}"
            for library in libraries
            for ms in [operator.times_ms[library]]
        )
        table.add_row(str(number), operator.kind, escape(operator.node or "n/a"), *times)
    return table
