"""The session names the process that measured; rounds are compared only within one session."""

from __future__ import annotations

from typing import Any

from cellfarm.base.project import Project
from cellfarm.experiments import measuring as module
from cellfarm.experiments.journal import Journal
from cellfarm.experiments.measuring import Measuring
from cellfarm.experiments.patience import Patience
from cellfarm.experiments.running_cell import Running
from cellfarm.measures.launches import QUALITY

from tests.support.results import FACTS, make_experiment, make_plan, make_planned


def test_processes_of_one_id_are_two_sessions(tmp_path, monkeypatch):
    """In a container that is started again, every run may have the process id 7."""

    def launch(*arguments: Any, mode: str, **options: Any) -> dict[str, Any]:
        return {"mode": mode, "status": "ok"}

    monkeypatch.setattr(module, "launch", launch)
    planned = make_planned()
    plan = make_plan(planned)
    journal = Journal(tmp_path / "key.jsonl")
    for _ in range(2):
        experiment = make_experiment(Project(tmp_path), plan)
        measuring = Measuring(experiment, None, FACTS, 0, Patience(0, print))
        running = Running(planned, None, None, journal, journal.read())
        for number in range(2):
            measuring._launch(running, "quality", QUALITY, number)
    sessions = [record["session"] for record in journal.read()]
    assert sessions[0] == sessions[1] != sessions[2] == sessions[3]
