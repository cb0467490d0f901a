"""What the Snakefile does about the run itself: its config's name, its lock, Snakemake's own state."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..base.documents import load_yaml
from ..base.errors import (
    PermanentDeviceError,
    TransientDeviceError,
    TransientError,
    TransientHostError,
    UserError,
)
from ..base.locking import file_lock
from ..base.project import Project


def source_of_config(workflow: Any) -> str:
    """What to call the config in messages: its files, and --config where it was given.

    Raises:
        UserError: a key stands twice in one of them. Snakemake would take the last without a word.
    """
    for path in workflow.configfiles:
        load_yaml(Path(path))
    files = [os.path.relpath(path) for path in workflow.configfiles]
    on_command_line = ["--config"] if workflow.config_settings.config else []
    return " + ".join([*files, *on_command_line])


def asks_for_report(arguments: Sequence[str]) -> bool:
    """Whether Snakemake is to make its own report of what is there (`--report`) and to run nothing."""
    asked = any(word.partition("=")[0] == "--report" for word in arguments)
    return asked and "--report-after-run" not in arguments


def report_files(project: Project) -> list[Any]:
    """The files of the last report, flagged for Snakemake's own with caption, category and labels.

    They are no rule's output: the page and its figures are replaced whole, and Snakemake removes
    outputs before it makes them.

    Raises:
        UserError: there is no report yet.
    """
    from snakemake.io import report

    def flagged(path: Path, caption: str, category: str, labels: dict[str, str]) -> Any:
        text = f"workflow/report/{caption}.rst"
        return report(project.relative(path), caption=text, category=category, labels=labels)

    page = project.reports / "index.html"
    if not page.is_file():
        raise UserError("there is no report yet: run `snakemake` first, without --report")
    files = [flagged(page, "page", "Report", {"figure": "everything", "setting": "all"})]
    for path in sorted((project.reports / "charts").glob("*.svg")):
        chart, _, setting = path.stem.partition("--")
        kind, category = ("winners", "Ranking") if chart == "winners" else ("chart", "Charts")
        files.append(flagged(path, kind, category, {"figure": chart, "setting": setting or "all"}))
    return files


def lift_rate_limit(workflow: Any) -> None:
    """Let Snakemake start any number of jobs a second, once it has a scheduler (`onstart`).

    Its limit of 100, which no option takes away, wakes the scheduler a second after each time that it
    woke, for the whole run (9.27): after 160 steps it looks for jobs 160 times a second, with half a
    core, beside what is being measured.
    """
    workflow.scheduler.job_rate_limiter = None


def let_devices_work_at_once(workflow: Any, devices: int) -> None:
    """Give Snakemake a thread for each device, once it has a scheduler (`onstart`).

    An experiment on another device asks for no core of this machine. Snakemake (9.27) starts such jobs,
    and then lets no more of them run than it has cores, and five: the others wait inside it.
    """
    scheduler = workflow.scheduler
    executor = scheduler._local_executor or scheduler._executor
    if hasattr(executor, "pool"):  # a dry run has none
        executor.workers += devices
        executor.pool = ThreadPoolExecutor(executor.workers)


def end_at_sigterm() -> None:
    """Let SIGTERM end a run as Ctrl-C does, once Snakemake has a scheduler (`onstart`).

    Snakemake's own handler (9.27) waits for the jobs that run, an experiment of hours, and takes a lock
    that the interrupted thread may hold: then the process never ends.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)


#: Keeps the pipeline's lock for as long as the process lives.
_HELD = contextlib.ExitStack()


def forget_interrupted(project: Project) -> None:
    """Drop Snakemake's notes on jobs that were running when a run was killed.

    A job that outlives its killed Snakemake finishes its output, and outputs here are whole once they
    are there. Snakemake would run that job again, and then nothing of what depends on it: it ends
    with 0 and most of the work undone.
    """
    notes = project.root / ".snakemake" / "incomplete"
    if not notes.is_dir() or not any(notes.iterdir()):
        return  # a dry run takes no lock then
    with (
        contextlib.suppress(BlockingIOError),  # a run is at work: the notes are its own
        file_lock(project.results / ".pipeline.lock", wait=False),
    ):
        shutil.rmtree(notes, ignore_errors=True)


def take_pipeline_lock(project: Project) -> None:
    """Keep a second run out of this folder until this process ends, whatever way it ends.

    Raises:
        UserError: another run is at work here.
    """
    try:
        _HELD.enter_context(file_lock(project.results / ".pipeline.lock", wait=False))
    except BlockingIOError:
        raise UserError(
            "another run is at work in this folder; wait for it to end, or stop it "
            "(`cellfarm query` and `snakemake -n` work meanwhile)"
        ) from None


def tell_lost(lost: Mapping[str, Exception]) -> None:
    """End the process with a message if devices dropped out of the run, whose report is there."""
    if not lost:
        return
    reasons = "; ".join(f"{name}: {why}" for name, why in lost.items())
    may_come_back = any(isinstance(why, TransientError) for why in lost.values())
    kind = TransientDeviceError if may_come_back else PermanentDeviceError
    fail(kind(f"not every device finished ({reasons}); what was measured is kept: start again"))


def fail(error: Exception) -> None:
    """End the process with one message: exit code 2 for a user's mistake."""
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        error = TransientHostError(
            f"the run cannot be planned: {error.strerror or error}{place}; mend that and start again"
        )
    print(f"cellfarm: {error}", file=sys.stderr)
    raise SystemExit(getattr(error, "exit_code", 1))
