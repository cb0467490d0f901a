"""The payload: the runner with one back end, named by content and the same everywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cellfarm.core.digests import code_digest
from cellfarm.experiments.payload import RUNNER, pack


@pytest.fixture(autouse=True)
def fresh_digests():
    """Digests of code are cached for a process: a plan describes the code as it stood."""
    code_digest.cache_clear()
    yield
    code_digest.cache_clear()


@pytest.fixture
def backend(tmp_path) -> Path:
    path = tmp_path / "library" / "backend.py"
    path.parent.mkdir()
    path.write_text("VALUE = 1\n")
    return path


def test_it_holds_the_runner_and_the_back_end_and_nothing_else(tmp_path, backend):
    path = pack([backend], tmp_path / "payloads")
    with zipfile.ZipFile(path) as archive:
        expected = {source.name for source in RUNNER.glob("*.py")} | {"backend.py"}
        assert set(archive.namelist()) == expected and "__main__.py" in expected
        assert archive.read("backend.py") == b"VALUE = 1\n"


def test_the_same_sources_make_the_same_bytes_under_the_same_name(tmp_path, backend):
    one = pack([backend], tmp_path / "one")
    elsewhere = tmp_path / "elsewhere" / "backend.py"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(backend.read_bytes())
    other = pack([elsewhere], tmp_path / "other")
    assert one.name == other.name and one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:  # no time of packing
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_another_back_end_has_another_name(tmp_path, backend):
    before = pack([backend], tmp_path / "payloads")
    backend.write_text("VALUE = 2\n")
    code_digest.cache_clear()
    assert pack([backend], tmp_path / "payloads").name != before.name


def test_it_is_packed_once_and_leaves_nothing_else(tmp_path, backend):
    path = pack([backend], tmp_path / "payloads")
    path.write_bytes(b"kept")
    assert pack([backend], tmp_path / "payloads").read_bytes() == b"kept"
    assert list(path.parent.iterdir()) == [path]
