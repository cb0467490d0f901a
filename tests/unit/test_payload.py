"""The payload: the runner with one back end, named by content and the same everywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cellfarm.base import code
from cellfarm.base.code import PlannedCode
from cellfarm.base.errors import InternalMismatch
from cellfarm.experiments.payload import pack
from cellfarm.libraries import all_libraries
from cellfarm.planning.causes import runner_code

from tests.support.packages import forget
from tests.support.runner_modules import RUNNER, runner_entries


@pytest.fixture(autouse=True)
def fresh_digests():
    forget()
    yield
    forget()


@pytest.fixture
def backend(tmp_path, monkeypatch) -> Path:
    """A library's back end in a package that has a copy of the runner beside it."""
    return make_package(tmp_path / "package", monkeypatch)


def make_package(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(RUNNER, package / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    path = package / "library" / "backend.py"
    path.parent.mkdir()
    path.write_text("VALUE = 1\n")
    monkeypatch.setattr(code, "PACKAGE", package)
    return path


def planned() -> PlannedCode:
    return PlannedCode.of([*runner_entries(), "library/backend.py"], ("runner", "library"))


def test_it_holds_the_runner_and_the_back_end_and_nothing_else(tmp_path, backend):
    path = pack(planned(), tmp_path / "payloads")
    with zipfile.ZipFile(path) as archive:
        expected = {source.name for source in RUNNER.glob("*.py")} | {"backend.py"}
        sources = {name for name in archive.namelist() if name.endswith(".py")}
        assert sources == expected and "__main__.py" in expected
        assert set(archive.namelist()) - sources == {f"{name}c" for name in expected}
        assert archive.read("backend.py") == b"VALUE = 1\n"


def test_the_same_sources_make_the_same_bytes_under_the_same_name(tmp_path, backend, monkeypatch):
    one = pack(planned(), tmp_path / "one")
    make_package(tmp_path / "elsewhere", monkeypatch)
    forget()
    other = pack(planned(), tmp_path / "other")
    assert one.name == other.name and one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:  # no time of packing
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_launch_takes_the_compiled_modules_and_another_python_the_sources(tmp_path, backend):
    backend.write_text("def fail():\n    raise ValueError('of the back end')\n")
    path = pack(planned(), tmp_path / "payloads")
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


def test_another_back_end_has_another_name(tmp_path, backend):
    before = pack(planned(), tmp_path / "payloads")
    backend.write_text("VALUE = 2\n")
    forget()
    assert pack(planned(), tmp_path / "payloads").name != before.name


def test_it_is_packed_once_and_leaves_nothing_else(tmp_path, backend):
    path = pack(planned(), tmp_path / "payloads")
    path.write_bytes(b"kept")
    assert pack(planned(), tmp_path / "payloads").read_bytes() == b"kept"
    assert list(path.parent.iterdir()) == [path]


def test_a_changed_module_is_not_packed_under_the_plan_s_name(tmp_path, backend):
    before = planned()
    backend.write_text("VALUE = 2\n")
    with pytest.raises(InternalMismatch, match="changed since this run was planned"):
        pack(before, tmp_path / "payloads")
    assert not (tmp_path / "payloads").exists()


@pytest.mark.parametrize("library", all_libraries().values(), ids=all_libraries().keys())
def test_a_library_s_payload_holds_its_modules_and_none_that_stays_here(tmp_path, library):
    path = pack(runner_code(library), tmp_path / "payloads")
    with zipfile.ZipFile(path) as archive:
        sources = {name for name in archive.namelist() if name.endswith(".py")}
    runner = {source.name for source in RUNNER.glob("*.py")}
    assert sources == runner | {module.name for module in library.shipped}
    assert not sources & {"convert.py", "tool.py"}
