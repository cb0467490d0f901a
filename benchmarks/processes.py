"""Runs a command to its end and measures its cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .figures import REPOSITORY

VENV_BIN = REPOSITORY / ".venv" / "bin"


@dataclass(frozen=True)
class Completed:
    """`cpu_s` is user and system time of the process and of every child that it waited for."""

    code: int
    wall_s: float
    cpu_s: float
    output: str


def run(
    argv: Sequence[str | Path], folder: Path, variables: Mapping[str, str], live: bool = False
) -> Completed:
    """Run a command; its standard output and error come back together.

    Args:
        live: show the output at once instead (`output` is then empty): for commands of minutes.
    """
    with tempfile.TemporaryFile() as log:
        target = None if live else log
        started = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in argv], cwd=folder, env=dict(variables),
            stdin=subprocess.DEVNULL, stdout=target, stderr=None if live else subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        output = log.read().decode(errors="replace")
    return Completed(process.returncode, wall_s, usage.ru_utime + usage.ru_stime, output)


def snakemake_variables(**extra: str) -> dict[str, str]:
    """This process's variables, with the orchestrator's environment first on the PATH."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return inherited | {"PATH": f"{VENV_BIN}:{os.environ['PATH']}"} | extra


def report_wait(holder: str) -> None:
    """Say who measures on this machine while a benchmark waits for its lock."""
    print(f"  waiting for this machine, being measured by {holder}", flush=True)
