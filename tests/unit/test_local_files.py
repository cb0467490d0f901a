"""Transport `local`: files are put once, completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.devices.local import LocalTransport


@pytest.fixture
def transport(tmp_path) -> LocalTransport:
    transport = LocalTransport(tmp_path / "work")
    transport.prepare()
    return transport


def test_a_file_is_put_once_under_its_name(transport, tmp_path):
    source = tmp_path / "model.bin"
    source.write_bytes(b"first")
    assert transport.put(source, "artifacts/abc") is True
    source.write_bytes(b"second")
    assert transport.put(source, "artifacts/abc") is False
    assert Path(transport.resolve("artifacts/abc")).read_bytes() == b"first"


def test_a_folder_is_put_whole(transport, tmp_path):
    source = tmp_path / "files"
    (source / "nested").mkdir(parents=True)
    (source / "nested" / "model.param").write_text("x")
    assert transport.put(source, "artifacts/abc")
    assert not transport.put(source, "artifacts/abc")
    assert Path(transport.resolve("artifacts/abc/nested/model.param")).read_text() == "x"
    assert [path.name for path in (transport.work_folder / "artifacts").iterdir()] == ["abc"]


@pytest.mark.parametrize("name", ["artifacts/abc", "inputs/abc.npz"])
def test_a_copy_that_was_damaged_is_made_anew(transport, tmp_path, name):
    """Its size and date do not matter; otherwise the library would be blamed for the damage."""
    source = tmp_path / "files"
    if name.startswith("artifacts"):
        source.mkdir()
        (source / "model.bin").write_bytes(b"weights")
    else:
        source.write_bytes(b"weights")
    assert transport.put(source, name)
    copy = Path(transport.resolve(name))
    file = copy / "model.bin" if copy.is_dir() else copy
    status = file.stat()
    file.write_bytes(b"weighty")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    new_transport = LocalTransport(transport.work_folder)
    assert new_transport.put(source, name) and file.read_bytes() == b"weights"
    assert not LocalTransport(transport.work_folder).put(source, name)


def test_a_failed_put_leaves_nothing_and_says_what(transport, tmp_path):
    source = tmp_path / "files"
    source.mkdir()
    (source / "good").write_text("x")
    (source / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TransientDeviceError, match=r"files cannot be deployed to .*dangling"):
        transport.put(source, "artifacts/abc")
    assert list((transport.work_folder / "artifacts").iterdir()) == []


def test_a_work_folder_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentDeviceError, match=r"file/work cannot be written.*work_folder"):
        LocalTransport(tmp_path / "file" / "work").prepare()


def test_files_are_read_and_removed(transport):
    assert transport.read("launches/none") is None
    transport.remove("launches/none")
    path = transport.work_folder / "launches" / "out.npz"
    path.write_bytes(b"data")
    assert transport.read("launches/out.npz") == b"data"
    transport.remove("launches/out.npz")
    (transport.work_folder / "folder" / "deep").mkdir(parents=True)
    transport.remove("folder")
    assert not path.exists() and not (transport.work_folder / "folder").exists()


def test_a_link_is_removed_and_not_what_it_points_at(transport, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (transport.work_folder / "link").symlink_to(tmp_path / "precious")
    transport.remove("link")
    assert (tmp_path / "precious" / "file").exists()
    assert not (transport.work_folder / "link").is_symlink()
