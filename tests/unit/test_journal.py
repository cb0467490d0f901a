"""The journal keeps the launches that were measured before a kill, in whole lines only."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from cellfarm.experiments.journal import Journal
from hypothesis import given
from hypothesis import strategies as st

from tests.support.disks import fill, tiny_disk


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path / "device" / "key.jsonl")


def test_no_journal_is_no_launches(journal):
    assert journal.read() == []
    journal.remove()  # a missing file is no error


def test_launches_come_back_in_order(journal):
    launches = [{"number": n, "warm_ms": [0.1 * n], "text": "line\nbreak"} for n in range(4)]
    for launch in launches:
        journal.append(launch)
    assert Journal(journal.path).read() == launches
    journal.remove()
    assert journal.read() == []


@given(cut=st.integers(min_value=1, max_value=60), more=st.integers(min_value=0, max_value=2))
def test_a_torn_tail_is_dropped_and_the_next_launch_follows_the_last_whole_one(
    tmp_path_factory, cut: int, more: int
):
    journal = Journal(tmp_path_factory.mktemp("journal") / "key.jsonl")
    launches: list[dict[str, Any]] = [{"number": n, "pad": "é" * 20} for n in range(3)]
    for launch in launches:
        journal.append(launch)
    size = journal.path.stat().st_size
    os.truncate(journal.path, size - cut)
    kept = journal.read()
    assert kept == launches[: len(kept)]
    assert len(kept) == (2 if cut < size / 3 else 1)
    added = [{"number": 10 + n} for n in range(more)]
    for launch in added:
        journal.append(launch)
    assert journal.read() == kept + added


@pytest.mark.parametrize("tail", [b'{"number": 1', b"\x00" * 300, b"\xff\xfe", b'{"number": 1}'])
def test_any_tail_without_a_line_end_is_torn(journal, tail: bytes):
    journal.append({"number": 0})
    with journal.path.open("ab") as file:
        file.write(tail)
    assert journal.read() == [{"number": 0}]
    journal.append({"number": 2})
    assert journal.read() == [{"number": 0}, {"number": 2}]


def test_a_line_that_is_no_json_ends_what_is_trusted(journal):
    journal.append({"number": 0})
    with journal.path.open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    assert journal.read() == [{"number": 0}]


@pytest.mark.parametrize("size", [100, 9_000, 200_000])
def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, size: int):
    with tiny_disk(tmp_path / "disk") as disk:
        journal = Journal(disk / "key.jsonl")
        journal.append({"number": 0, "pad": "x" * 700})
        before = journal.path.read_bytes()
        ballast = fill(disk)
        with ballast.open("r+b") as file:  # room for a part of the line, not for all of it
            file.truncate(max(0, ballast.stat().st_size - size // 2))
        appended = 0
        with pytest.raises(OSError) as caught:
            while True:
                journal.append({"number": 1, "pad": "y" * size})
                appended += 1
        assert caught.value.errno == errno.ENOSPC
        assert journal.path.read_bytes()[: len(before)] == before
        assert len(journal.read()) == 1 + appended
        assert journal.path.read_bytes().count(b"\n") == 1 + appended
        assert journal.path.read_bytes().endswith(b"\n")
        ballast.unlink()
        journal.append({"number": 2})
        assert journal.read()[-1] == {"number": 2}


def test_a_short_write_does_not_tear_a_line(journal, monkeypatch):
    """The disk fills up within a line: the written part of the line is removed."""
    journal.append({"number": 0})
    before = journal.path.read_bytes()
    original_fsync = os.fsync

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        journal.append({"number": 1})
    monkeypatch.setattr(os, "fsync", original_fsync)
    assert journal.path.read_bytes() == before


def test_a_value_that_is_not_json_is_refused_before_anything_is_written(journal):
    journal.append({"number": 0})
    with pytest.raises(ValueError):
        journal.append({"ms": float("inf")})
    assert journal.read() == [{"number": 0}]
