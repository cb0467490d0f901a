"""A device that cannot be used ends its experiment with a record; other results are still reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cellfarm.base.errors import TransientDeviceError, TransientHostError
from cellfarm.base.project import Project
from cellfarm.base.records import Record
from cellfarm.devices import adb, remote
from cellfarm.devices.adb import AdbLink
from cellfarm.devices.remote import RemoteTransport
from cellfarm.experiments import patience
from cellfarm.experiments import run as run_module
from cellfarm.wanted.devices import AdbAddress

from tests.support.pipe_link import PipeLink
from tests.support.results import make_cell, make_experiment, make_plan, make_planned

#: The facts of a phone, which has no Python.
FACTS = {"architecture": "aarch64", "python": None, "glibc": None, "free_mb": 10_000}


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs an experiment on a device that needs a Python; returns its record."""
    project = Project(tmp_path)
    experiment = make_experiment(project, make_plan(make_planned(make_cell(device="lost"))))
    transport = RemoteTransport(PipeLink(), str(tmp_path / "device"), project)
    monkeypatch.setattr(transport, "facts", lambda: FACTS)
    monkeypatch.setattr(run_module, "open_device", lambda document, project: transport)
    monkeypatch.setattr(run_module, "machine_lock_path", lambda name: tmp_path / f"{name}.lock")
    monkeypatch.setattr(run_module, "patience_s", lambda document: 0)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(remote, "locate", lambda project, name: None)

    def run() -> dict[str, Any]:
        run_module.run_experiment(experiment)
        return dict(json.loads((tmp_path / experiment.step.output).read_text()))

    return run


def test_a_python_that_cannot_be_installed_is_a_lost_device(measure, monkeypatch):
    state = Record("failed", "no mirror has libpython3.11")
    monkeypatch.setattr(remote, "build", lambda environment: state)
    record = measure()
    assert record["lost"] == "no Python for the device: no mirror has libpython3.11"
    assert record["may_come_back"] is False and record["cells"] == {}


def test_a_python_that_cannot_be_fetched_now_is_a_device_that_may_come_back(measure, monkeypatch):
    def build(environment: Any) -> None:
        raise TransientHostError("no mirror answers")

    monkeypatch.setattr(remote, "build", build)
    record = measure()
    assert record["lost"] == "no Python for the device: no mirror answers"
    assert record["may_come_back"] is True


def test_an_adb_that_cannot_be_started_is_a_lost_device(monkeypatch, tmp_path):
    monkeypatch.setattr(AdbLink, "_check", lambda self: None)
    monkeypatch.setattr(adb.adbutils, "adb_path", lambda: str(tmp_path / "no adb"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(TransientDeviceError, match="adb cannot be started"):
        AdbLink(AdbAddress("none")).push(tmp_path / "file", "/data/local/tmp/file")
