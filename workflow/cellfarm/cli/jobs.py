"""What the rules of the workflow call, one command a rule. Not for people: ids come from the plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..base.errors import InternalMismatch, TransientHostError
from ..base.locking import file_lock, machine_lock_path
from ..base.project import Project
from ..planning.plan import load as load_plan

app = typer.Typer(help="The workflow's jobs.", no_args_is_help=True)
LogOption = Annotated[Path | None, typer.Option("--log", help="Where to write what happened.")]


@app.command()
def environment(name: str, folder: str, log: LogOption = None) -> None:
    """Build the environment of a lock."""
    from ..envs.environments import build, locate

    wanted = locate(Project.here(), name)
    _same(wanted.folder.name, folder, f"the lock envs/{name}.txt")
    _report("install", name, log, lambda: build(wanted))


@app.command()
def download(model: str, name: str, log: LogOption = None) -> None:
    """Fetch the trained weights of a model."""
    from ..conversion import steps

    def say(text: str) -> None:
        _tell(f"download {model}: {text}", None)

    _report("download", model, log, lambda: steps.download(Project.here(), model, name, say))


@app.command("build-model")
def build_model(model: str, model_id: str, log: LogOption = None) -> None:
    """Build a model: weights, inputs, reference; or take over the user's own file."""
    from ..conversion import steps

    _report("build", model, log, lambda: steps.build_model(Project.here(), model, model_id))


@app.command()
def export(model: str, form: str, model_id: str, export_id: str, log: LogOption = None) -> None:
    """Export a model to another format."""
    from ..conversion import steps

    def work() -> dict[str, Any]:
        return steps.export(Project.here(), model, form, model_id, export_id)

    _report("export", f"{model} to {form}", log, work)


@app.command()
def convert(
    library: str,
    version: str,
    model: str,
    variant: str,
    model_id: str,
    export_id: str,
    artifact_id: str,
    log: LogOption = None,
) -> None:
    """Convert a model for a library. `export_id` is - for a converter that reads the model's own file."""
    from ..conversion import steps

    reference = f"{library}@{version}"
    exported = None if export_id == "-" else export_id

    def work() -> dict[str, Any]:
        ids = (model_id, exported, artifact_id)
        return steps.convert(Project.here(), reference, model, variant, *ids)

    _report("convert", f"{model} {variant} for {reference}", log, work)


@app.command()
def measure(plan: str, device: str, model: str, record: Path, log: LogOption = None) -> None:
    """Run an experiment of a frozen plan."""
    from ..experiments.experiment import Experiment

    project = Project.here()
    Experiment(project, load_plan(project, plan), device, model, log).run(record)


@app.command()
def warehouse(current: str, stamp: Path, log: LogOption = None) -> None:
    """Load what is new into the warehouse."""
    from ..base.files import write_atomically
    from ..snakemake.pipeline import load_current, warehouse_state, write_state
    from ..store.results import Store
    from ..warehouse import load, surroundings

    project = Project.here()
    wanted = load_current(project, current)
    devices = surroundings.devices(project, wanted["devices"])
    models = surroundings.models(project)
    loaded = load(project.warehouse, Store(project.cells), wanted["keys"], devices, models)
    text = f"warehouse: {loaded.added} results added, {loaded.removed} removed"
    if loaded.unreadable:
        raise TransientHostError(
            f"{len(loaded.unreadable)} damaged results were set aside: start again to measure "
            "their cells anew"
        )
    write_state(project, warehouse=warehouse_state(project, wanted["cells"]), current=current)
    _replace_stamps(stamp)
    write_atomically(stamp, text + "\n")
    _tell(text, log)


@app.command()
def report(stamp: Path, log: LogOption = None) -> None:
    """Write the report from the warehouse."""
    from ..base.files import write_atomically
    from ..report import write_report
    from ..snakemake.pipeline import read_state, report_state, write_state

    project = Project.here()
    page = write_report(project.warehouse, project.reports)
    state = read_state(project)
    write_state(project, report=report_state(state["warehouse"]))
    _replace_stamps(stamp)
    write_atomically(stamp, f"{page}\n")
    _tell(f"report: {project.relative(page)}", log)


def _report(verb: str, what: str, log: Path | None, work: Callable[[], dict[str, Any]]) -> None:
    """Do a job while no measurement runs on this machine, and say how it ended."""

    def waiting(who: str) -> None:
        _tell(f"{verb} {what}: waiting until {who} has measured", None)

    with file_lock(machine_lock_path("host"), shared=True, on_wait=waiting):
        _tell(f"{_step()}{verb} {what} ...", None)
        record = work()
    seconds = f" ({record['seconds']:.0f} s)" if "seconds" in record else ""
    outcome = f"{record['status']}: {record['reason']}" if record["reason"] else record["status"]
    _tell(f"{verb} {what}: {outcome}{seconds}", log, record.get("log", ""))


def _step() -> str:
    """`[7/35] `: which step of the run's preparation comes next; nothing outside a run."""
    plan = os.environ.get("CELLFARM_PLAN")
    if not plan:
        return ""
    project = Project.here()
    preparation = load_plan(project, plan)["preparation"]
    done = sum((project.root / path).is_file() for path in preparation)
    return f"[{min(done + 1, len(preparation))}/{len(preparation)}] "


def _tell(text: str, log: Path | None, detail: str = "") -> None:
    print(text, file=sys.stderr, flush=True)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{text}\n{detail}", encoding="utf-8")


def _same(now: str, planned: str, what: str) -> None:
    if now != planned:
        raise InternalMismatch(f"{what} changed since this run was planned: start it again")


def _replace_stamps(stamp: Path) -> None:
    """Stamps of earlier situations mean nothing any more."""
    for old in stamp.parent.glob(f"*{stamp.suffix}"):
        old.unlink(missing_ok=True)
