"""Code in an environment of the models', with cellfarm/models at hand."""

from __future__ import annotations

import subprocess

from cellfarm.base.project import PACKAGE, Project
from cellfarm.envs.environments import build, clean_variables, locate

from .projects import REPOSITORY

HERE = Project(REPOSITORY)


def python(environment: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in an environment of the models', with their scripts at hand."""
    built = locate(HERE, environment)
    assert build(built).status == "ok"
    path = f"import sys; sys.path.insert(0, {str(PACKAGE / 'models')!r})\n"
    argv = [str(built.python), "-c", path + code, *arguments]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=300, check=False, env=clean_variables()
    )
