"""The payload: the runner with one back end, named by content and the same everywhere."""

from __future__ import annotations

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
from cellfarm.measures import all_measures
from cellfarm.planning.causes import payload_code

from tests.support.runner_modules import RUNNER, packed


@pytest.fixture(autouse=True)
def fresh_digests():
    """Clear the digests of code, which a process caches as a plan describes the code as it was."""
    forget()
    yield
    forget()


def forget() -> None:
    for cached in (
        code.sha256_of,
        code._closure_digest,
        code._imported,
        code._resolve,
        code._names,
    ):
        cached.cache_clear()


@pytest.fixture
def backend(tmp_path) -> Path:
    path = tmp_path / "library" / "backend.py"
    path.parent.mkdir()
    path.write_text("VALUE = 1\n")
    return path


def test_a_payload_holds_the_runner_the_device_halves_and_the_back_end_and_nothing_else(
    tmp_path, backend
):
    with zipfile.ZipFile(packed(tmp_path / "payloads", backend)) as archive:
        device_halves = {f"measure_{measure}.py" for measure in all_measures()}
        sources = {name for name in archive.namelist() if name.endswith(".py")}
        runner = {path.name for path in RUNNER.glob("*.py")} - {"refusal.py"}  # it refuses nothing
        assert sources == runner | device_halves | {"backend.py"}
        assert set(archive.namelist()) - sources == {f"{name}c" for name in sources}
        assert archive.read("backend.py") == b"VALUE = 1\n"


def test_a_payload_holds_what_the_measures_of_a_run_import_and_no_more(tmp_path):
    path = pack(payload_code(all_libraries()["ncnn"], ["cold_start"]), tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert {"__main__.py", "gate.py", "phases.py", "measure_cold_start.py", "backend.py"} <= names
    assert not {"series.py", "pictures.py", "profiler.py", "measure_latency.py"} & names


def test_code_that_changed_since_the_plan_was_made_is_not_packed(tmp_path, backend):
    planned = PlannedCode.of(["runner/__main__.py", str(backend)], ["runner", str(backend.parent)])
    backend.write_text("VALUE = 2\n")
    with pytest.raises(InternalMismatch, match="changed since this run was planned"):
        pack(planned, tmp_path / "payloads")


def test_the_same_sources_make_the_same_bytes_under_the_same_name(tmp_path, backend):
    payload = packed(tmp_path / "one", backend)
    copied_backend = tmp_path / "elsewhere" / "backend.py"
    copied_backend.parent.mkdir()
    copied_backend.write_bytes(backend.read_bytes())
    copy = packed(tmp_path / "other", copied_backend)
    assert payload.name == copy.name and payload.read_bytes() == copy.read_bytes()
    with zipfile.ZipFile(payload) as archive:  # no time of packing
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_launch_takes_the_compiled_modules_and_another_python_the_sources(tmp_path, backend):
    backend.write_text("def fail():\n    raise ValueError('of the back end')\n")
    path = packed(tmp_path / "payloads", backend)
    program = (
        "import backend, traceback\nprint(backend.__file__)\n"
        "try:\n    backend.fail()\nexcept ValueError:\n    traceback.print_exc()\n"
    )

    def output(archive: Path) -> tuple[str, str]:
        argv = [sys.executable, "-c", program]
        variables = {"PYTHONPATH": str(archive)}
        completed = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60)
        return completed.stdout.strip(), completed.stderr

    module_file, error = output(path)
    assert module_file == f"{path}/backend.pyc"
    assert "raise ValueError('of the back end')" in error  # the line, from the source
    foreign = tmp_path / "foreign.pyz"
    with zipfile.ZipFile(path) as source_archive, zipfile.ZipFile(foreign, "w") as foreign_archive:
        for name in source_archive.namelist():
            content = source_archive.read(name)
            foreign_archive.writestr(name, b"\0\0" + content[2:] if name.endswith("c") else content)
    module_file, error = output(foreign)
    assert module_file == f"{foreign}/backend.py" and "raise ValueError" in error


def test_another_back_end_has_another_name(tmp_path, backend):
    before = packed(tmp_path / "payloads", backend)
    backend.write_text("VALUE = 2\n")
    forget()
    assert packed(tmp_path / "payloads", backend).name != before.name


def test_a_payload_is_packed_once_and_leaves_nothing_else(tmp_path, backend):
    path = packed(tmp_path / "payloads", backend)
    path.write_bytes(b"kept")
    assert packed(tmp_path / "payloads", backend).read_bytes() == b"kept"
    assert list(path.parent.iterdir()) == [path]
