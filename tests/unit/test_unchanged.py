"""A store with every wanted result is read again only where something changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cellfarm.base.project import Project
from cellfarm.planning import outlook as outlook_module
from cellfarm.planning.outlook import Outlook, look
from cellfarm.wanted.configuration import load

from tests.support.projects import CONFIG, make_project
from tests.support.results import commit_result


def outlook_of(project: Project, threads: int = 1) -> Outlook:
    return look(project, load(project, CONFIG | {"threads": [threads]}, "test.yaml"))


def age_results(project: Project) -> None:
    """Make all results one hour older."""
    for folder, _, names in os.walk(project.cells):
        for path in (*(Path(folder) / name for name in names), Path(folder)):
            stamp = path.stat().st_mtime - 3600
            os.utime(path, (stamp, stamp))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with all results, which has been planned once."""
    project = make_project(tmp_path)
    for planned in outlook_of(project).cells:
        commit_result(project, planned)
    age_results(project)
    assert outlook_of(project).seen is None
    return project


def test_nothing_changed(project: Project, monkeypatch: pytest.MonkeyPatch):
    # Planning any cell would fail now.
    monkeypatch.setattr(outlook_module.Planner, "plan_all", None)
    outlook = outlook_of(project)
    assert outlook.seen is not None and outlook.stale == outlook.unmeasured == []
    assert outlook.experiments == {} and outlook.left_undone == {}
    monkeypatch.undo()
    planned = outlook.cells
    assert outlook.count == len(planned) > 0
    fresh = Outlook(outlook.configuration, outlook.planner, outlook.facts, outlook.skipped)
    assert (outlook.current, outlook.stored) == (fresh.current, fresh.stored)


def test_a_result_that_went_is_missed(project: Project):
    result = next(project.cells.rglob("latency-*.json"))
    result.unlink()
    outlook = outlook_of(project)
    assert [planned.cell.folder for planned in outlook.stale] == [
        result.parent.relative_to(project.cells).as_posix()
    ]
    commit_result(project, outlook.stale[0])
    assert outlook_of(project).stale == []


def test_a_folder_that_went_is_missed(project: Project):
    folder = next(project.cells.rglob("latency-*.json")).parent
    folder.rename(project.root / "elsewhere")
    assert len(outlook_of(project).stale) == 1
    (project.root / "elsewhere").rename(folder)
    assert outlook_of(project).stale == []


def test_a_changed_cause_is_noticed(project: Project):
    path = project.config / "protocols/quick.yaml"
    text = path.read_text(encoding="utf-8")
    changed_text = "".join(
        "seed: 12345\n" if line.startswith("seed:") else line for line in text.splitlines(True)
    )
    path.write_text(changed_text, encoding="utf-8")
    changed = outlook_of(project)
    assert changed.seen is None and len(changed.stale) == changed.count
    path.write_text(text, encoding="utf-8")
    assert outlook_of(project).seen is not None


def test_another_matrix_is_planned(project: Project):
    assert len(outlook_of(project, threads=2).stale) > 0
    assert outlook_of(project).seen is not None


def test_a_store_that_has_just_been_written_to_is_not_remembered(project: Project):
    next(project.cells.rglob("latency-*.json")).parent.touch()
    assert [outlook_of(project).seen for _ in range(2)] == [None, None]


def test_what_was_remembered_and_is_damaged_does_not_count(project: Project):
    (remembered,) = project.plans.glob("stored-*.json")
    remembered.write_text('{"matrix": "')
    assert outlook_of(project).seen is None
    assert outlook_of(project).seen is not None
