"""`cellfarm series`: the versions of a library, where its latency steps, and what took slowdowns back."""

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
from .tables import wide_console


def print_series(
    project: Project, library: str | None, model: str | None, flagged: bool, points: bool
) -> None:
    """Print the steps and slowdowns of the series that were measured, and how to confirm a step.

    Args:
        library, model: only these.
        points: also every version with its latency.

    Raises:
        UserError: there is no warehouse, or no such series.
    """
    from ..report import version_tables  # its charts take a second to import
    from ..report.wording import count

    with connect(project.warehouse) as connection:
        everything = all_series(history(connection), released(), flagged)
        found = _chosen(everything, {"library": library, "model": model})
        keys = [point.key for one in found for point in one.points]
        profiles = operators(connection, keys)
    console = wide_console()
    for one in found if points else ():
        console.print(_points(one))
    for table in (
        version_tables.steps_table(found, profiles),
        version_tables.slowdowns_table(found),
    ):
        if table["rows"]:
            console.print(_table(table["heading"], table["columns"], table["rows"]))
    steps = [step for one in found for step in one.steps]
    versions_measured = sum(len(one.points) for one in found)
    console.print(
        f"{len(found)} series of {versions_measured} versions, {count(len(steps), 'step')}"
    )
    open_steps = [(one, step) for one in found for step in one.steps if step.rerun is Rerun.OPEN]
    if open_steps:
        console.print("To confirm a step, measure both versions again in one experiment:")
        console.print(f"  {escape(_rerun(*open_steps[0]))}")


def _chosen(everything: Sequence[Series], wanted: dict[str, str | None]) -> list[Series]:
    """
    Raises:
        UserError: nothing is left, with what there is.
    """
    if not everything:
        raise UserError(
            "no library was measured at two versions or more under the same conditions; "
            "config/longitudinal.yaml does so"
        )
    found = list(everything)
    for name, value in wanted.items():
        if value is None:
            continue
        known = sorted({str(one.setting[name]) for one in found})
        found = [one for one in found if one.setting[name] == value]
        if not found:
            raise UserError(
                f"--{name} {value}: there is no series of it{suggestion(value, known)}; "
                f"there are: {', '.join(known)}"
            )
    return found


def _rerun(one: Series, step: Step) -> str:
    setting = one.setting
    both = ",".join(f"{setting['library']}@{v.version}" for v in (step.before, step.after))
    protocol = "standard" if setting["protocol"] != "standard" else "quick"
    return (
        f"snakemake measured --config models={setting['model']} libraries={both} "
        f"variants={setting['variant']} threads={setting['threads']} devices={setting['device']} "
        f"processors={setting['processor']} protocol={protocol}"
    )


def _points(one: Series) -> Table:
    from ..report.version_tables import setting

    steps = {step.position: step for step in one.steps}
    rows = []
    for position, point in enumerate(one.points):
        step = steps.get(position)
        rows.append(
            [point.version, point.released or "n/a", f"{point.latency_ms:.2f}",
             f"{point.low_ms:.2f} to {point.high_ms:.2f}", f"{one.levels_ms[position]:.2f}",
             f"{step.ratio:.3f}" if step else ""]
        )  # fmt: skip
    title = f"{one.setting['library']} · {one.setting['model']} · {setting(one)}"
    columns = [("version", False), ("released", False), ("ms", True), ("95 % interval", False),
               ("level, ms", True), ("step", True)]  # fmt: skip
    left_out = [f"{version}: {why}" for version, why in one.left_out.items()]
    table = _table(title, columns, rows)
    if left_out:
        table.caption = escape(f"Left out: {'; '.join(left_out)}")
        table.caption_justify = "left"
    return table


def _table(title: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None,
                  pad_edge=False, header_style="dim")  # fmt: skip
    for name, is_number in columns:
        table.add_column(name, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(escape(value) for value in row))
    return table
