"""The cache of converted steps: it is copied into a farm, kept after it, and pruned."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.support import cache


@pytest.fixture(autouse=True)
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLFARM_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/steps"


def make_step(results: Path, name: str, age_s: float = 0.0, status: str = "ok") -> Path:
    folder = results / name
    folder.mkdir(parents=True)
    (folder / "file").write_text(name)
    record = folder / "record.json"
    record.write_text(json.dumps({"status": status}, indent=1))
    os.utime(record, (time.time() - age_s, time.time() - age_s))
    return folder


def names(root: Path) -> set[str]:
    return {path.parent.relative_to(root).as_posix() for path in root.rglob("record.json")}


def test_a_farm_gets_what_an_earlier_one_converted(tmp_path: Path) -> None:
    make_step(tmp_path / "first", "artifacts/ncnn@1/m/fp32/a")
    cache.keep_steps(tmp_path / "first")
    cache.take_steps(tmp_path / "second")
    assert (tmp_path / "second/artifacts/ncnn@1/m/fp32/a/file").is_file()


def test_a_failed_step_is_not_kept(tmp_path: Path, steps: Path) -> None:
    make_step(tmp_path / "farm", "models/m/a", status="failed")
    cache.keep_steps(tmp_path / "farm")
    assert names(steps) == set()


def test_the_newest_builds_of_each_step_are_kept(tmp_path: Path, steps: Path) -> None:
    """Every farm carries the whole cache: a build of code that is gone must not stay in it."""
    for age_s, digest in enumerate("edcba"):  # e is the newest
        make_step(tmp_path / "farm", f"models/m/{digest}", age_s * 60.0)
    make_step(tmp_path / "farm", "exports/m/onnx/a", 9 * 60.0)
    cache.keep_steps(tmp_path / "farm")
    assert names(steps) == {*(f"models/m/{digest}" for digest in "edc"), "exports/m/onnx/a"}


def test_a_farm_that_carries_an_old_build_does_not_make_it_new(tmp_path: Path, steps: Path) -> None:
    make_step(tmp_path / "farm", "models/m/a", cache.KEPT_S - 60.0)
    cache.keep_steps(tmp_path / "farm")
    assert names(steps) == {"models/m/a"}
    for folder in (steps, tmp_path / "farm"):
        record = folder / "models/m/a/record.json"
        os.utime(record, (time.time() - cache.KEPT_S - 60.0,) * 2)
    cache.take_steps(tmp_path / "farm")
    cache.keep_steps(tmp_path / "farm")
    assert names(steps) == set()
