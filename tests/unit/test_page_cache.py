"""The real page cache, where the file system has one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.runner_modules import runner_module

page_cache = runner_module("page_cache")

SIZES = {"model.bin": 3_000_001, "more/weights.bin": 70_000, "more/empty": 0}


@pytest.fixture
def artifact(tmp_path) -> str:
    for name, size in SIZES.items():
        path = tmp_path / "artifact" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return str(tmp_path / "artifact")


def test_reading_fills_the_page_cache_and_evicting_empties_it(artifact):
    ms, size = page_cache.read_all(artifact)
    assert size == sum(SIZES.values()) and ms > 0
    assert page_cache.resident_share(artifact) == 1.0
    page_cache.evict(artifact)
    share = page_cache.resident_share(artifact)
    if share == 1.0:
        pytest.skip("this file system is in memory")
    assert share == 0.0
    page_cache.read_all(artifact)
    assert page_cache.resident_share(artifact) == 1.0


def test_what_is_written_just_now_can_be_evicted(artifact):
    page_cache.evict(artifact)
    assert page_cache.resident_share(artifact) in (0.0, 1.0)
    Path(artifact, "new.bin").write_bytes(b"x" * 500_000)
    page_cache.evict(artifact)
    assert page_cache.resident_share(artifact) in (0.0, 1.0)


def test_a_file_system_in_memory_keeps_everything(tmp_path_factory):
    if not Path("/dev/shm").is_dir() or not os.access("/dev/shm", os.W_OK):
        pytest.skip("no file system in memory")
    folder = Path(f"/dev/shm/cellfarm-test-{os.getpid()}")
    folder.mkdir()
    try:
        (folder / "file").write_bytes(b"x" * 100_000)
        page_cache.evict(str(folder))
        assert page_cache.resident_share(str(folder)) == 1.0
    finally:
        (folder / "file").unlink()
        folder.rmdir()


def test_a_folder_without_pages_has_no_resident_share(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "missing"):
        page_cache.evict(str(folder))
        assert page_cache.resident_share(str(folder)) is None
        assert page_cache.read_all(str(folder))[1] == 0


def test_an_unreadable_file_is_not_guessed_at(artifact, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(page_cache, "_opened", refuse)
    assert page_cache.resident_share(artifact) is None


def test_a_strangers_file_is_not_guessed_at(artifact, monkeypatch):
    """The kernel calls every page of a file resident that the caller neither owns nor may write."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert page_cache.resident_share(artifact) is None


def test_looking_imports_nothing_that_a_library_would_have_to(artifact):
    code = (
        "import sys, page_cache\n"
        "assert page_cache.resident_share(sys.argv[1]) is not None\n"
        "assert 'ctypes' not in sys.modules\n"
    )
    path = str(Path(page_cache.__file__).parent)
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-S", "-c", code, artifact], {"PYTHONPATH": path}
    )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
