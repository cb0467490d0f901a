"""`cellfarm doctor` changes nothing on a device: an experiment may be running there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cellfarm.base.errors import PermanentDeviceError
from cellfarm.base.project import Project
from cellfarm.cli import doctor
from cellfarm.devices.local import LocalTransport
from cellfarm.devices.remote import RemoteTransport
from cellfarm.devices.shell import ShellTransport
from cellfarm.devices.transport import Interpreter, Transport
from cellfarm.wanted.devices import LocalDevice

from tests.support.pipe_link import PipeLink


def remote(folder: Path) -> Transport:
    transport = RemoteTransport(PipeLink(), str(folder), Project(folder.parent))
    transport._base = Interpreter((sys.executable, "-S"), {})
    return transport


def shell(folder: Path) -> Transport:
    return ShellTransport(PipeLink(), str(folder), Project(folder.parent))


TRANSPORTS = {"local": LocalTransport, "remote": remote, "shell": shell}


@pytest.fixture(params=TRANSPORTS.values(), ids=TRANSPORTS.keys())
def open_at(request) -> Callable[[Path], Transport]:
    return request.param


def listing(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_doctor_leaves_a_running_experiment_alone(open_at, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    (folder / "launches").mkdir(parents=True)
    (folder / "launches/outputs.npz").write_bytes(b"of a launch that is not compared yet")
    policy = {"policy0": {"before": "powersave", "set": "performance"}}
    (folder / "governor.json").write_text(json.dumps(policy))
    before = listing(tmp_path)
    monkeypatch.setattr(doctor, "open_device", lambda document, project: open_at(folder))
    configuration = SimpleNamespace(devices={"board": LocalDevice("board", str(folder), ("cpu",))})
    findings = list(doctor._device(Project(tmp_path), configuration, "board"))
    assert [finding.text for finding in findings if finding.level == "bad"] == []
    assert any("can be written" in finding.text for finding in findings)
    assert listing(tmp_path) == before


def test_a_look_finds_a_work_folder_that_cannot_be_made(open_at, tmp_path):
    (tmp_path / "file").write_text("")
    transport = open_at(tmp_path / "file/work/below")
    with pytest.raises(PermanentDeviceError, match=r"cannot be written \(.*/file is no folder"):
        transport.check()


def test_a_look_makes_no_work_folder(open_at, tmp_path):
    open_at(tmp_path / "not there yet" / "work").check()
    assert list(tmp_path.iterdir()) == []
