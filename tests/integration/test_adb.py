"""Connections to a phone: another adb server, and `cellfarm devices add`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import adbutils
import pytest
import yaml
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.cli.devices import add
from cellfarm.devices import open_device
from cellfarm.virtual.starting import virtual_phone
from cellfarm.wanted.devices import parse_device

from tests.support.projects import REPOSITORY, make_project


@pytest.fixture(scope="module")
def phone(tmp_path_factory) -> Iterator[tuple[Project, dict[str, Any]]]:
    """A phone behind its own adb server, which is not the usual one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project = make_project(tmp_path_factory.mktemp("adb"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLFARM_ENVIRONMENTS", str(Project(REPOSITORY).environments))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        try:
            with virtual_phone(project, "phone") as started:
                assert started.document["address"]["server_port"] == port
                yield project, started.document
        finally:
            adbutils.AdbClient(port=port).server_kill()


def test_a_phone_behind_another_adb_server(phone, monkeypatch):
    project, document = phone
    monkeypatch.delenv("ANDROID_ADB_SERVER_PORT")
    transport = open_device(parse_device(document, "test"), project)
    try:
        facts = transport.facts()
        assert (facts["model"], facts["android"]) == ("cellfarm Virtual Phone", True)
        transport.prepare()
        lines: list[str] = []
        transport.run(
            ["sh", "-c", "echo here"], stdin=b"", timeout_s=30, variables=transport.variables,
            on_line=lines.append,
        )  # fmt: skip
        assert lines == ["here"]
    finally:
        transport.close()


def test_phones_that_no_file_names_get_one(phone, monkeypatch, capsys):
    project, document = phone
    monkeypatch.setattr(Project, "here", classmethod(lambda _: project))
    add(address=None, name=None, key_file=None)
    path = project.devices / "cellfarm_virtual_phone.yaml"
    written = yaml.safe_load(path.read_text())
    assert written["address"]["serial"] == document["address"]["serial"]
    assert path.stem in capsys.readouterr().out
    with pytest.raises(UserError, match="no phone that has no file"):
        add(address=None, name=None, key_file=None)
