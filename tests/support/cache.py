"""What tests build once for a machine: outside the checkout, by digest, so that a fresh clone finds it.

`~/.cache/cellfarm` (or $XDG_CACHE_HOME/cellfarm, or $CELLFARM_TEST_CACHE) holds
    environments/   as in a checkout's .envs; native runners that were compiled, too
    steps/          models, exports and artifacts of the tests' small models
All of it can be deleted.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from cellfarm.base.locking import file_lock

STEPS = ("models", "derived", "exports", "artifacts")
#: What nobody used for so long is deleted.
KEPT_S = 30 * 24 * 3600.0


def root() -> Path:
    """The folder of all."""
    own = os.environ.get("CELLFARM_TEST_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellfarm"


def environments() -> Path:
    return root() / "environments"


def take_steps(results: Path) -> None:
    """Put what earlier tests converted into the results of a farm: folders are named by digests of their
    causes, so what is not wanted is not looked at."""
    steps = root() / "steps"
    with file_lock(root() / "steps.lock"):
        for record in steps.glob("*/**/record.json"):
            folder = record.parent
            target = results / folder.relative_to(steps)
            if not target.exists():
                shutil.copytree(folder, target)


def keep_steps(results: Path) -> None:
    """Keep what a farm converted."""
    steps = root() / "steps"
    with file_lock(root() / "steps.lock"):
        for kind in STEPS:
            for record in (results / kind).rglob("record.json"):
                target = steps / record.parent.relative_to(results)
                if target.is_dir():
                    os.utime(target / "record.json")
                    continue
                if '"status": "ok"' not in record.read_text(encoding="utf-8"):
                    continue
                scratch = target.with_name(f".{target.name}.tmp")
                shutil.rmtree(scratch, ignore_errors=True)
                shutil.copytree(record.parent, scratch)
                os.utime(scratch / "record.json")
                scratch.rename(target)
        _prune(steps)


def _prune(steps: Path) -> None:
    for record in list(steps.glob("*/**/record.json")):
        if time.time() - record.stat().st_mtime > KEPT_S:
            shutil.rmtree(record.parent)
