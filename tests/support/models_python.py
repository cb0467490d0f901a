"""Runs code in an environment of the models, with the modules of cellfarm/models on its path."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cellfarm.base.project import PACKAGE, Project
from cellfarm.envs.environments import build, clean_variables, locate

from .projects import REPOSITORY

CHECKOUT = Project(REPOSITORY)


def interpreter(environment: str) -> Path:
    """The Python of an environment of the models, which is built first."""
    built = locate(CHECKOUT, environment)
    record = build(built)
    assert record.status == "ok", record.reason
    return built.python


def python(environment: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in an environment of the models, with their modules on its path."""
    path = f"import sys; sys.path.insert(0, {str(PACKAGE / 'models')!r})\n"
    argv = [str(interpreter(environment)), "-c", path + code, *arguments]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=300, check=False, env=clean_variables()
    )
