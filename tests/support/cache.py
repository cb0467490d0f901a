"""Caches what tests build once per machine: outside the checkout, by digest, for fresh clones too.

`~/.cache/cellfarm` (or $XDG_CACHE_HOME/cellfarm, or $CELLFARM_TEST_CACHE) holds
    environments/   as in a checkout's .envs; native runners that were compiled, too
    steps/          models, exports and artifacts of the tests' small models
All of it can be deleted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from cellfarm.base.locking import file_lock

STEPS = ("models", "derived", "exports", "artifacts")
#: Of each step the newest builds are kept, so many, and none that is older than this. Every farm carries
#: them all, so being in a farm says nothing about being used.
KEPT = 3
KEPT_S = 30 * 24 * 3600.0


def root() -> Path:
    """The cache's folder."""
    configured = os.environ.get("CELLFARM_TEST_CACHE")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellfarm"


def environments() -> Path:
    return root() / "environments"


def take_steps(results: Path) -> None:
    """Copy what earlier tests converted into a farm's results. Folders are named by digests of their
    causes, so a run ignores those that it does not need."""
    steps = root() / "steps"
    with file_lock(root() / "steps.lock"):
        for record in steps.glob("*/**/record.json"):
            folder = record.parent
            target = results / folder.relative_to(steps)
            if not target.exists():
                shutil.copytree(folder, target)


def keep_steps(results: Path) -> None:
    """Copy what a farm converted into the cache."""
    steps = root() / "steps"
    with file_lock(root() / "steps.lock"):
        for kind in STEPS:
            for record in (results / kind).rglob("record.json"):
                target = steps / record.parent.relative_to(results)
                if target.is_dir() or json.loads(record.read_bytes())["status"] != "ok":
                    continue
                scratch = target.with_name(f".{target.name}.tmp")
                shutil.rmtree(scratch, ignore_errors=True)
                shutil.copytree(record.parent, scratch)
                scratch.rename(target)
        _prune(steps)


def _prune(steps: Path) -> None:
    builds: dict[Path, list[tuple[float, Path]]] = {}
    for record in steps.glob("*/**/record.json"):
        made_s, folder = record.stat().st_mtime, record.parent
        builds.setdefault(folder.parent, []).append((made_s, folder))
    for step in builds.values():
        for position, (made_s, folder) in enumerate(sorted(step, reverse=True)):
            if position >= KEPT or time.time() - made_s > KEPT_S:
                shutil.rmtree(folder)
