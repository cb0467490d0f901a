"""The payload: the runner with a library's modules, named by content and the same everywhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cellfarm.base import code
from cellfarm.base.errors import InternalMismatch
from cellfarm.experiments.payload import pack
from cellfarm.libraries import Library, all_libraries
from cellfarm.measures import all_measures
from cellfarm.planning.causes import payload_code

ONNX = all_libraries()["onnxruntime"]


def forget() -> None:
    """Digests of code are kept for a process: a plan describes the code as it stood."""
    for cached in (code._closure_digest, code.sha256_of, code._imported, code._resolve):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def fresh_digests() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def library(tmp_path) -> Library:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "backend.py").write_text("VALUE = 1\n")
    return Library(folder, ONNX.description)


def packed(library: Library, folder: Path, measures: tuple[str, ...] = ("latency",)) -> Path:
    return pack(payload_code(library, measures), folder)


def test_it_holds_what_its_measures_import_and_nothing_else(tmp_path, library):
    path = packed(library, tmp_path / "payloads", ("latency", "quality"))
    with zipfile.ZipFile(path) as archive:
        sources = {name for name in archive.namelist() if name.endswith(".py")}
        assert {"__main__.py", "gate.py", "backend.py", "measure_latency.py", "series.py",
                "measure_quality.py"} <= sources  # fmt: skip
        assert not {"measure_accuracy.py", "pictures.py", "measure_operators.py"} & sources
        assert set(archive.namelist()) - sources == {f"{name}c" for name in sources}
        assert archive.read("backend.py") == b"VALUE = 1\n"


def test_with_every_measure_every_module_of_the_runner_is_packed(tmp_path, library):
    path = packed(library, tmp_path / "payloads", tuple(all_measures()))
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert {source.name for source in (code.PACKAGE / "runner").glob("*.py")} - names == {
        "refusal.py"
    }
    assert {f"measure_{name}.py" for name in all_measures()} <= names


def test_the_same_sources_make_the_same_bytes_under_the_same_name(tmp_path, library):
    first = packed(library, tmp_path / "first")
    elsewhere = tmp_path / "elsewhere" / "backend.py"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((library.folder / "backend.py").read_bytes())
    second = packed(Library(elsewhere.parent, ONNX.description), tmp_path / "second")
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:  # no time of packing
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_launch_takes_the_compiled_modules_and_another_python_the_sources(tmp_path, library):
    (library.folder / "backend.py").write_text(
        "def fail():\n    raise ValueError('of the back end')\n"
    )
    path = packed(library, tmp_path / "payloads")
    program = (
        "import backend, traceback\nprint(backend.__file__)\n"
        "try:\n    backend.fail()\nexcept ValueError:\n    traceback.print_exc()\n"
    )

    def output(archive: Path) -> tuple[str, str]:
        argv = [sys.executable, "-c", program]
        variables = {"PYTHONPATH": str(archive)}
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60)
        return done.stdout.strip(), done.stderr

    where, error = output(path)
    assert where == f"{path}/backend.pyc"
    assert "raise ValueError('of the back end')" in error  # the line, from the source
    foreign = tmp_path / "foreign.pyz"
    with zipfile.ZipFile(path) as read, zipfile.ZipFile(foreign, "w") as written:
        for name in read.namelist():
            content = read.read(name)
            written.writestr(name, b"\0\0" + content[2:] if name.endswith("c") else content)
    where, error = output(foreign)
    assert where == f"{foreign}/backend.py" and "raise ValueError" in error


def test_another_back_end_has_another_name(tmp_path, library):
    before = packed(library, tmp_path / "payloads")
    (library.folder / "backend.py").write_text("VALUE = 2\n")
    forget()
    assert packed(library, tmp_path / "payloads").name != before.name


def test_code_that_changed_since_it_was_planned_is_not_packed(tmp_path, library):
    planned = payload_code(library, ["latency"])
    (library.folder / "backend.py").write_text("VALUE = 2\n")
    with pytest.raises(InternalMismatch, match="changed since this run was planned"):
        pack(planned, tmp_path / "payloads")
    assert not (tmp_path / "payloads").exists()


def test_it_is_packed_once_and_leaves_nothing_else(tmp_path, library):
    path = packed(library, tmp_path / "payloads")
    path.write_bytes(b"kept")
    assert packed(library, tmp_path / "payloads").read_bytes() == b"kept"
    assert list(path.parent.iterdir()) == [path]
