"""Copies of a library under other names: a cell against itself, or against a slowed self."""

from __future__ import annotations

import shutil
from pathlib import Path

from cellfarm.envs.environments import library_environment, locate, lock_of
from cellfarm.envs.locks import PURPOSES
from cellfarm.libraries import all_libraries
from msgspec import structs

from .lab import Lab

SLOWED = Path(__file__).with_name("slowed_backend.py")


def add_copy(lab: Lab, original: str, name: str, slowdown: float | None = None) -> str:
    """Make a library of the lab that runs another one's modules, environment and artifacts.

    Args:
        slowdown: the share by which every inference takes longer (0.05: 5 %), spent in a busy
            loop; None: the modules as they are.

    Returns:
        `name`, to be asked for among the libraries of a matrix.
    """
    libraries = all_libraries()
    source = libraries[original]
    folder = lab.project.root / "libraries" / name
    shutil.copytree(source.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if slowdown is not None:
        (folder / "backend.py").rename(folder / "unslowed_backend.py")
        shutil.copyfile(SLOWED, folder / "backend.py")
        (folder / "slowdown.py").write_text(f"SHARE = {slowdown!r}\n", encoding="utf-8")
    libraries[name] = structs.replace(source, folder=folder, name=name)
    version = source.default_version
    for purpose in PURPOSES:
        old, new = (library_environment(library, version, purpose) for library in (original, name))
        shutil.copyfile(lock_of(lab.project, old), lock_of(lab.project, new))
        environment = locate(lab.project, new).folder
        environment.symlink_to(locate(lab.project, old).folder.resolve())
    artifacts = lab.project.results / "artifacts"
    (artifacts / f"{name}@{version}").symlink_to((artifacts / f"{original}@{version}").resolve())
    return name
