"""Names, ports and keys of devices: a user's mistake gives one message, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cellfarm.base.errors import UserError
from cellfarm.cli.devices import add
from cellfarm.virtual.commands import board, phone

from tests.support.projects import make_project

BAD = ["../evil", "a b", "x;y", "", ".hidden", "12"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = make_project(tmp_path)
    (project.root / "Snakefile").touch()  # otherwise commands use the checkout as the project
    (project.root / "workflow/cellfarm").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project.root)
    return project.root


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("start_device", [board, phone])
def test_a_virtual_device_has_a_name_of_a_file(folder, start_device, name):
    before = set(folder.rglob("*"))
    with pytest.raises(UserError, match="name"):
        start_device(name=name)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("name", BAD)
def test_an_added_device_has_a_name_of_a_file(folder, name):
    before = set(folder.rglob("*"))
    with pytest.raises(UserError, match="name"):
        add("me@127.0.0.1", name=name)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("me@host:99999", {}, "expected a port from 1 to 65535"),
        ("me@host:0", {}, "expected a port from 1 to 65535"),
        ("host", {}, "expected user@host"),
        ("me@host", {"key_file": Path("nowhere")}, "nowhere: there is no such file"),
    ],
)
def test_an_invalid_address_is_refused(folder, address, options, message):
    with pytest.raises(UserError, match=message):
        add(address, **{"name": None, "key_file": None, **options})


@pytest.mark.parametrize("address", ["me@127.0.0.1:2222", "root@127.0.0.1:2222"])
def test_a_board_that_has_a_file_gets_no_second_one(folder, address):
    document = {
        "name": "pi", "transport": "ssh", "work_folder": "/home/me/cellfarm", "processors": ["cpu"],
        "address": {"host": "127.0.0.1", "port": 2222, "user": "me"},
    }  # fmt: skip
    (folder / "devices/pi.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"devices/pi\.yaml has that address"):
        add(address, name="other", key_file=None)
    assert not (folder / "devices/other.yaml").exists()
