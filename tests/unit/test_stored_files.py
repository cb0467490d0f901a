"""The stored files of a job are used only unchanged; damaged ones are made anew."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from cellfarm.base import digests
from cellfarm.base.errors import TransientHostError
from cellfarm.base.records import FILES, RECORD, Record
from cellfarm.conversion import workers
from cellfarm.conversion.workers import check_files
from cellfarm.libraries import all_libraries

from tests.support.steps import build_model, convert
from tests.support.steps import filled as filled_folder

CONTENT = b"weights and all that" * 1000
DAMAGED = CONTENT[:-1] + b"!"
RECIPE = {"source": "timm", "architecture": "resnet18"}


@pytest.fixture
def filled(tmp_path) -> Path:
    """The folder of a job that has succeeded."""
    out = tmp_path / "out"
    (out / "below").mkdir(parents=True)
    (out / "below/model.bin").write_bytes(CONTENT)
    (out / "model.json").write_text("{}")
    folder = tmp_path / "filled"
    workers._commit(folder, Record("ok", None), out)
    return folder


@pytest.fixture(autouse=True)
def no_environments(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(tmp_path / "environments"))


def damage(folder: Path) -> Path:
    """Change the content of a stored file but not its size or date; returns its path."""
    file = folder / FILES / "below/model.bin"
    status = file.stat()
    file.write_bytes(DAMAGED)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return file


def test_damage_that_keeps_the_size_makes_the_file_anew(filled):
    file = damage(filled)
    with pytest.raises(TransientHostError, match=f"{file} is missing or changed; it is made again"):
        check_files(filled)
    assert not (filled / RECORD).exists()


def test_what_is_gone_is_made_anew(filled):
    (filled / FILES / "model.json").unlink()
    with pytest.raises(TransientHostError, match=r"model\.json is missing or changed"):
        check_files(filled)
    assert not (filled / RECORD).exists()


def test_damage_that_keeps_the_size_is_no_library_s_fault(filled, tmp_path):
    library = all_libraries()["onnxruntime"]
    damage(filled)
    with pytest.raises(TransientHostError, match="missing or changed"):
        convert(library, "fp32", filled, filled, "pt2", tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_a_file_is_read_once_until_it_changes(filled, monkeypatch):
    paths_read: list[Path] = []

    def file_digest(path: Path) -> str:
        paths_read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "file_digest", file_digest)
    check_files(filled)
    check_files(filled)
    assert sorted(path.name for path in paths_read) == ["model.bin", "model.json"]
    (filled / FILES / "below/model.bin").write_bytes(DAMAGED)
    with pytest.raises(TransientHostError):
        check_files(filled)


def test_weights_that_are_damaged_are_fetched_again(tmp_path):
    weights = tmp_path / hashlib.sha256(CONTENT).hexdigest()
    download = filled_folder(tmp_path / "download")
    weights.write_bytes(CONTENT)
    record = build_model(RECIPE, tmp_path / "model", {"weights": weights}, download)
    assert record.reason == "environment models is not built"
    weights.write_bytes(DAMAGED)
    with pytest.raises(TransientHostError, match="is gone or damaged; start again"):
        build_model(RECIPE, tmp_path / "model", {"weights": weights}, download)
    assert not weights.exists() and not (download / RECORD).exists()
    assert weights.with_name(f"{weights.name}.damaged").read_bytes() == DAMAGED
