"""`cellfarm operators`: the same operators of a model in each library."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..analysis.operators import Potential, potentials
from ..base.documents import suggestion
from ..base.errors import UserError
from ..base.project import Project
from ..warehouse import connect, records
from ..warehouse.reading import operators
from .tables import wide_console

_COLUMNS = (
    "key", "model", "library", "library_version", "variant", "device", "processor", "threads",
    "protocol", "status", "flags", "emulated", "latency_ms",
)  # fmt: skip


def print_operators(project: Project, model: str) -> None:
    """Print the operators of a model that libraries were matched by, with the time that each takes.

    Raises:
        UserError: there is no warehouse, or nothing to match.
    """
    with connect(project.warehouse) as connection:
        sql = f"SELECT {', '.join(_COLUMNS)} FROM cells WHERE model = ?"
        cells = records(connection.execute(sql, [model]))
        if not cells:
            models = connection.execute("SELECT DISTINCT model FROM cells ORDER BY 1").fetchall()
            raise _unknown(model, [name for (name,) in models])
        found = potentials(cells, operators(connection, [cell["key"] for cell in cells]))
    if not found:
        raise UserError(
            f"{model}: no two libraries of the last run have profiles of the same sequence of operators"
        )
    console = wide_console()
    for one in found:
        console.print(_table(one))
        console.print(
            f"  {escape(one.best)} takes {one.best_ms:.2f} ms, the best of each at least "
            f"{one.composed_ms:.2f}: {one.gain:.2f} times as fast at most; {100 * one.unmatched:.0f} % of "
            "it is not matched"
        )
        if one.left_out:
            console.print(f"  [dim]Another sequence: {escape(', '.join(one.left_out))}[/]")


def _unknown(model: str, known: list[str]) -> UserError:
    there_are = ", ".join(known) or "none"
    return UserError(
        f"{model}: not among the models of the last run{suggestion(model, known)}; there are: {there_are}"
    )


def _table(one: Potential) -> Table:
    found = one.setting
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    setting = f"{found['variant']}, {found['processor']}, {threads}, {found['device']}"
    title = f"{found['model']} ({setting}), ms"
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None,
                  pad_edge=False, header_style="dim")  # fmt: skip
    libraries = sorted(one.operators[0].times_ms)
    for name in ("", "operator", "node"):
        table.add_column(name, justify="left" if name else "right")
    for library in libraries:
        table.add_column(escape(library), justify="right")
    for number, operator in enumerate(one.operators, start=1):
        times = (
            f"[bold]{ms:.3f}[/]" if library == operator.best else f"{ms:.3f}"
            for library in libraries
            for ms in [operator.times_ms[library]]
        )
        table.add_row(str(number), operator.kind, escape(operator.node or "n/a"), *times)
    return table
