"""`cellfarm series`: the steps in a library's latency over its versions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..analysis.longitudinal import Rerun, Series, Step, all_series
from ..base.documents import suggestion
from ..base.errors import UserError
from ..base.project import Project
from ..libraries import released
from ..warehouse import connect
from ..warehouse.reading import history, operators
from .tables import plain_table, wide_console


def print_series(
    project: Project, library: str | None, model: str | None, flagged: bool, points: bool
) -> None:
    """Print the steps and slowdowns of the measured series, and how to confirm a step.

    Args:
        library, model: only these.
        points: also every version with its latency.

    Raises:
        UserError: there is no warehouse, or no such series.
    """
    from ..report import version_tables  # its charts take a second to import
    from ..report.wording import count

    with connect(project.warehouse) as connection:
        measured = all_series(history(connection), released(), flagged)
        chosen = _chosen(measured, {"library": library, "model": model})
        keys = [point.key for series in chosen for point in series.points]
        profiles = operators(connection, keys)
    console = wide_console()
    if points:
        for series in chosen:
            console.print(_points(series))
    for table in (
        version_tables.steps_table(chosen, profiles),
        version_tables.slowdowns_table(chosen),
    ):
        if table["rows"]:
            console.print(_table(table["heading"], table["columns"], table["rows"]))
    steps = [(series, step) for series in chosen for step in series.steps]
    console.print(f"{len(chosen)} series of {len(keys)} versions, {count(len(steps), 'step')}")
    open_steps = [(series, step) for series, step in steps if step.rerun is Rerun.OPEN]
    if open_steps:
        console.print("To confirm a step, measure both versions again in one experiment:")
        console.print(f"  {escape(_rerun(*open_steps[0]))}")


def _chosen(measured: Sequence[Series], wanted: dict[str, str | None]) -> list[Series]:
    """The series with the wanted settings; None stands for any.

    Raises:
        UserError: no series is left.
    """
    if not measured:
        raise UserError(
            "no library was measured at two versions or more under the same conditions; "
            "config/longitudinal.yaml does so"
        )
    chosen = list(measured)
    for name, value in wanted.items():
        if value is None:
            continue
        known = sorted({str(series.setting[name]) for series in chosen})
        chosen = [series for series in chosen if series.setting[name] == value]
        if not chosen:
            raise UserError(
                f"--{name} {value}: there is no series of it{suggestion(value, known)}; "
                f"there are: {', '.join(known)}"
            )
    return chosen


def _rerun(series: Series, step: Step) -> str:
    """The command that measures both versions of a step again."""
    setting = series.setting
    libraries = ",".join(
        f"{setting['library']}@{point.version}" for point in (step.before, step.after)
    )
    protocol = "standard" if setting["protocol"] != "standard" else "quick"
    return (
        f"snakemake measured --config models={setting['model']} libraries={libraries} "
        f"variants={setting['variant']} threads={setting['threads']} devices={setting['device']} "
        f"processors={setting['processor']} protocol={protocol}"
    )


def _points(series: Series) -> Table:
    from ..report.version_tables import setting

    steps = {step.position: step for step in series.steps}
    rows = []
    for position, point in enumerate(series.points):
        step = steps.get(position)
        rows.append(
            [point.version, point.released or "n/a", f"{point.latency_ms:.2f}",
             f"{point.low_ms:.2f} to {point.high_ms:.2f}", f"{series.levels_ms[position]:.2f}",
             f"{step.ratio:.3f}" if step else ""]
        )  # fmt: skip
    title = f"{series.setting['library']} · {series.setting['model']} · {setting(series)}"
    columns = [("version", False), ("released", False), ("ms", True), ("95 % interval", False),
               ("level, ms", True), ("step", True)]  # fmt: skip
    table = _table(title, columns, rows)
    if series.left_out:
        left_out = [f"{version}: {reason}" for version, reason in series.left_out.items()]
        table.caption = escape(f"Left out: {'; '.join(left_out)}")
        table.caption_justify = "left"
    return table


def _table(title: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> Table:
    table = plain_table(escape(title), columns)
    for row in rows:
        table.add_row(*(escape(value) for value in row))
    return table
