"""Names, ports and keys that a user gives to a device: a mistake is one message, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cellfarm.cli.devices import add
from cellfarm.cli.virtual import board, phone
from cellfarm.errors import UserError

from tests.support.projects import make_project

BAD = ["../evil", "a b", "x;y", "", ".hidden", "12"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = make_project(tmp_path)
    monkeypatch.chdir(project.root)
    return project.root


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("start", [board, phone])
def test_a_virtual_device_has_a_name_of_a_file(folder, start, name):
    before = set(folder.rglob("*"))
    with pytest.raises(UserError, match="name"):
        start(name=name)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("name", BAD)
def test_an_added_device_has_a_name_of_a_file(folder, name):
    before = set(folder.rglob("*"))
    with pytest.raises(UserError, match="name"):
        add("me@127.0.0.1", name=name)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("address", "more", "message"),
    [
        ("me@host:99999", {}, "expected a port from 1 to 65535"),
        ("me@host:0", {}, "expected a port from 1 to 65535"),
        ("host", {}, "expected user@host"),
        ("me@host", {"key_file": Path("nowhere")}, "nowhere: there is no such file"),
    ],
)
def test_an_address_that_cannot_be(folder, address, more, message):
    with pytest.raises(UserError, match=message):
        add(address, **{"name": None, "key_file": None, **more})
