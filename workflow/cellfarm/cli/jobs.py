"""`cellfarm job KIND PLAN ID`: what the rules of the workflow call. The ids come from a plan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..base.errors import TransientHostError
from ..base.files import write_atomically
from ..base.locking import file_lock, machine_lock_path
from ..base.project import Project
from ..planning.plan import Plan, load_current
from ..planning.plan import load as load_plan

LogOption = Annotated[Path | None, typer.Option("--log", help="Where to write what happened.")]


class Kind(StrEnum):
    """The kinds of jobs."""

    ENVIRONMENT = "environment"
    DOWNLOAD = "download"
    MODEL = "model"
    DERIVED = "derived"
    EXPORT = "export"
    ARTIFACT = "artifact"
    EXPERIMENT = "experiment"
    WAREHOUSE = "warehouse"
    REPORT = "report"


def job(
    kind: Annotated[Kind, typer.Argument(help="What the job does.")],
    plan: Annotated[
        str,
        typer.Argument(help="The frozen plan; for warehouse and report, what is wanted now."),
    ],
    step: Annotated[
        str, typer.Argument(metavar="ID", help="The step of the plan, or the stamp's name.")
    ],
    log: LogOption = None,
) -> None:
    """One of the workflow's jobs."""
    project = Project.here()
    if kind is Kind.WAREHOUSE:
        _warehouse(project, plan, step, log)
    elif kind is Kind.REPORT:
        _report(project, step, log)
    elif kind is Kind.EXPERIMENT:
        from ..experiments.experiment import Experiment
        from ..experiments.run import run_experiment

        frozen = load_plan(project, plan)
        planned: Any = frozen.step(kind, step)
        run_experiment(Experiment(project, frozen, planned, log))
    else:
        _prepare(project, load_plan(project, plan), kind, step, log)


def _prepare(project: Project, plan: Plan, kind: Kind, step_id: str, log: Path | None) -> None:
    """Do a step before the measurement, while nothing is measured on this machine."""
    from ..conversion import jobs
    from ..envs.environments import build, locate

    step: Any = plan.step(kind, step_id)
    verb, subject = _description(kind, step)

    def say(text: str) -> None:
        _log(f"{verb} {subject}: {text}", None)

    work: dict[Kind, Callable[[], Any]] = {
        Kind.ENVIRONMENT: lambda: build(locate(project, step.name)),
        Kind.DOWNLOAD: lambda: jobs.download(project, step, say),
        Kind.MODEL: lambda: jobs.build_model(project, step),
        Kind.DERIVED: lambda: jobs.derive(project, step),
        Kind.EXPORT: lambda: jobs.export(project, step),
        Kind.ARTIFACT: lambda: jobs.convert(project, step),
    }

    def on_wait(holder: str) -> None:
        say(f"waiting until {holder} has measured")

    with file_lock(machine_lock_path("host"), shared=True, on_wait=on_wait):
        done = sum((project.root / path).is_file() for path in plan.preparation)
        position = f"[{min(done + 1, len(plan.preparation))}/{len(plan.preparation)}]"
        _log(f"{position} {verb} {subject} ...", None)
        record = work[kind]()
    seconds = "" if record.seconds is None else f" ({record.seconds:.0f} s)"
    outcome = f"{record.status}: {record.reason}" if record.reason else record.status
    _log(f"{verb} {subject}: {outcome}{seconds}", log, record.log)


def _description(kind: Kind, step: Any) -> tuple[str, str]:
    """What a step does (a verb), and to what."""
    if kind is Kind.ENVIRONMENT:
        return "install", step.name
    if kind is Kind.DOWNLOAD:
        return "download", step.model
    if kind is Kind.MODEL:
        return "build", step.recipe.name
    if kind is Kind.DERIVED:
        return "derive", f"{step.model} by {', '.join(name for name, _ in step.passes)}"
    if kind is Kind.EXPORT:
        return "export", f"{step.model} to {step.format}"
    return "convert", f"{step.model} {step.variant} for {step.library}@{step.version}"


def _warehouse(project: Project, current: str, situation: str, log: Path | None) -> None:
    """Load new results into the warehouse."""
    from ..snakemake.pipeline import stored_now, warehouse_state, write_state
    from ..store.results import Store
    from ..warehouse import load, surroundings

    wanted = load_current(project, current)
    devices = surroundings.devices(project, wanted.devices)
    models = surroundings.models(project)
    loaded = load(project.warehouse, Store(project.cells), wanted.results, devices, models)
    text = f"warehouse: {loaded.added} results added, {loaded.removed} removed"
    if loaded.unreadable:
        raise TransientHostError(
            f"{len(loaded.unreadable)} damaged results were set aside: start again to measure "
            "their cells anew"
        )
    stored = stored_now(project, wanted)
    write_state(project, warehouse=warehouse_state(stored), current=current)
    _stamp(project, f"{situation}.warehouse", text)
    _log(text, log)


def _report(project: Project, situation: str, log: Path | None) -> None:
    """Write the report from the warehouse."""
    from ..report import write_report
    from ..snakemake.pipeline import read_state, report_state, write_state

    page = write_report(project.warehouse, project.reports)
    state = read_state(project)
    write_state(project, report=report_state(state["warehouse"]))
    _stamp(project, f"{situation}.report", str(page))
    _log(f"report: {project.relative(page)}", log)


def _log(text: str, log: Path | None, detail: str = "") -> None:
    """Print a line, and write it with its detail to the log file."""
    print(text, file=sys.stderr, flush=True)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{text}\n{detail}", encoding="utf-8")


def _stamp(project: Project, name: str, text: str) -> None:
    """Write a stamp, and remove the stamps of earlier situations."""
    stamp = project.results / "stamps" / name
    for stale in stamp.parent.glob(f"*{stamp.suffix}"):
        stale.unlink(missing_ok=True)
    write_atomically(stamp, text + "\n")
