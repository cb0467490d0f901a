"""This machine is not measured while it sets up another device; it may be while that device is measured."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.base.errors import TransientDeviceError
from cellfarm.base.locking import file_lock
from cellfarm.base.project import Project
from cellfarm.base.records import Record
from cellfarm.experiments import host_share, measuring, patience
from cellfarm.experiments import run as module

from tests.support.results import FACTS, make_cell, make_experiment, make_plan, make_planned


class Device:
    """Records the state of this machine's lock at each step."""

    def __init__(self, lock, is_host: bool) -> None:
        self.lock = lock
        self.is_host = is_host
        self.states: list[tuple[str, str]] = []
        self.errors: list[Exception] = []

    def note(self, step: str) -> None:
        for shared, state in ((False, "free"), (True, "shared")):
            try:
                with file_lock(self.lock, shared=shared, wait=False):
                    self.states.append((step, state))
                    return
            except BlockingIOError:
                continue
        self.states.append((step, "alone"))

    def prepare(self) -> None:
        self.note("prepare")
        if self.errors:
            raise self.errors.pop()

    def facts(self) -> dict[str, Any]:
        return FACTS

    def take_control(self, governor: str) -> dict[str, Any]:
        return {"governor": None, "reason": None}

    def release_control(self) -> None:
        pass

    def close(self) -> None:
        self.note("close")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs an experiment of one cell, which cannot be deployed; returns (step, state of the lock)."""

    def lock_path(name: str):
        return tmp_path / f"{name}.lock"

    def run(name: str, *errors: Exception) -> list[tuple[str, str]]:
        device = Device(lock_path("host"), is_host=name == "host")
        device.errors = list(errors)
        planned = make_planned(make_cell(device=name))

        class Deployment:
            def __init__(self, *_: Any) -> None:
                pass

            def deploy(self, planned: Any) -> Record:
                device.note("deploy")
                return Record("failed", "a test")

        monkeypatch.setattr(module, "open_device", lambda document, project: device)
        monkeypatch.setattr(measuring, "Deployment", Deployment)
        monkeypatch.setattr(measuring.Measuring, "run", lambda self: device.note("measure"))
        experiment = make_experiment(Project(tmp_path), make_plan(planned))
        monkeypatch.setattr(experiment.progress, "note", lambda text: device.note("lost"))
        module.run_experiment(experiment)
        return device.states

    for place in (module, host_share):
        monkeypatch.setattr(place, "machine_lock_path", lock_path, raising=False)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.0)
    return run


def test_a_device_is_set_up_with_a_share_of_this_machine_s_lock(measure):
    assert measure("board") == [
        ("prepare", "shared"),
        ("deploy", "shared"),
        ("measure", "free"),
        ("close", "free"),
    ]


def test_a_device_that_is_out_of_reach_does_not_keep_this_machine_from_being_measured(measure):
    lost = TransientDeviceError("the device cannot be reached")
    assert measure("board", lost)[:3] == [
        ("prepare", "shared"),
        ("lost", "free"),
        ("prepare", "shared"),
    ]


def test_this_machine_has_its_lock_alone(measure):
    assert {state for _, state in measure("host")} == {"alone"}
