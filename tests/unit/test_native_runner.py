"""Native runners: inputs, outputs, builds, and the keys that they change. No compiler or device is used."""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.documents import load_yaml
from cellfarm.base.errors import PermanentHostError, UserError
from cellfarm.base.project import Project
from cellfarm.devices.local import LocalTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.envs import native_building
from cellfarm.envs.environments import NATIVE, build, library_environment, locate, lock_of
from cellfarm.envs.native_building import build_runner
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.gates import Gates
from cellfarm.experiments.launch import launch
from cellfarm.experiments.native_runner import as_lines, as_npz, as_raw
from cellfarm.libraries import all_libraries
from cellfarm.measures.accuracy.pictures import Pictures
from cellfarm.measures.flags import launch_flags
from cellfarm.measures.quality.verification import read_arrays
from cellfarm.planning.causes import Causes
from cellfarm.planning.chains import Chains
from cellfarm.planning.needs import needs_of, refusal_of, target_on
from cellfarm.wanted.configuration import load, read_device
from cellfarm.wanted.devices import parse_device
from cellfarm.wanted.variants import Variant
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.support.projects import CONFIG, REPOSITORY, make_project, write_yaml
from tests.support.protocols import SMALLEST, asked, protocol_of
from tests.support.results import FACTS, TOLERANCE
from tests.support.runner_modules import packed

NCNN = all_libraries()["ncnn"]
VERSION = NCNN.default_version
CELL = Cell("squeezenet1_1", "ncnn", VERSION, "fp32", "host", "cpu", 2)


def test_a_request_becomes_lines():
    request = {
        "mode": "measure", "idle_w": None, "cores": [0, 2], "samples": {"min": 3, "seconds": 0.5},
        "model": {"inputs": [{"name": "a\nb=c", "shape": [1, 3]}, {"shape": []}]},
    }  # fmt: skip
    assert as_lines(request).decode() == (
        "mode=measure\ncores=0,2\nsamples.min=3\nsamples.seconds=0.5\n"
        "model.inputs.0.name=a b=c\nmodel.inputs.0.shape=1,3\nmodel.inputs.1.shape=\n"
    )


def test_inputs_are_raw_values_of_four_bytes_sample_after_sample():
    arrays = {
        "ids": np.array([[[1, 2]], [[3, 4]]], np.int64),
        "scale": np.array([[0.5], [1.5]], np.float32),
    }
    raw = as_raw(arrays, [{"name": "scale"}, {"name": "ids"}])
    integers, floats = np.frombuffer(raw, "<i4"), np.frombuffer(raw, "<f4")
    assert len(raw) == 2 * 3 * 4
    assert (floats[0], floats[3]) == (0.5, 1.5)
    assert (integers[1], integers[2], integers[4], integers[5]) == (1, 2, 3, 4)


_SHAPES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3)


@given(shapes=_SHAPES, samples=st.integers(1, 3), single_sample=st.booleans())
def test_outputs_come_back_as_they_were_written(shapes, samples, single_sample):
    entries = [{"name": f"y{i}", "shape": shape} for i, shape in enumerate(shapes)]
    count = 1 if single_sample else samples
    arrays = {
        entry["name"]: np.arange(count * np.prod(entry["shape"]), dtype=np.float32).reshape(
            count, *entry["shape"]
        )
        for entry in entries
    }
    outputs = read_arrays(as_npz(as_raw(arrays, entries), entries, single_sample))
    assert set(outputs) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(outputs[name], array[0] if single_sample else array)


@pytest.mark.parametrize("size", [0, 3, 12, 20])
def test_outputs_of_another_size_cannot_be_read(size):
    with pytest.raises(ValueError, match="cannot be read"):
        read_arrays(as_npz(b"\0" * size, [{"name": "y", "shape": [1, 4]}], True))


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0"])
def test_outputs_without_a_value_hold_no_samples(data: bytes):
    assert as_npz(data, [{"name": "y", "shape": [0, 4]}], True) == data


#: A native runner written in Python. It doubles its input.
STAND_IN = f"""\
#!{sys.executable}
import json, pathlib, sys
request = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin)
assert request["model.inputs.0.shape"] == "1,6" and request["threads"] == "2", request
def emit(event, **more): print(json.dumps({{"event": event, **more}}), flush=True)
def double(data):
    import array
    return array.array("f", [2 * value for value in array.array("f", data)]).tobytes()
emit("start", ms=1.0, pid=1)
emit("pinned", cores=None)
for name in ("import", "read", "load", "first"):
    emit("done", name=name, ms=1.0, **({{"actual": {{"mode": request["mode"]}}}} if name == "load" else {{}}))
data = pathlib.Path(request["inputs"]).read_bytes()
pathlib.Path(request["outputs"]).write_bytes(double(data))
emit("outputs")
if request["mode"] == "measure":
    emit("samples", ms=[float(n) for n in range(1, int(request["samples.min"]) + 1)], seconds=1.0)
emit("end")
"""
INPUT = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6)


@pytest.fixture
def stand_in(tmp_path) -> tuple[Setting, Deployed]:
    transport = LocalTransport(tmp_path / "work")
    transport.prepare()
    (tmp_path / "program").mkdir()
    program = tmp_path / "program/runner"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    inputs = [{"name": "x", "shape": [1, 6], "dtype": "float32"}]
    pictures = Pictures(tmp_path / "unused", {}, [5, 5, 0], 6, 1.0)
    for name, array in (
        ("given", INPUT[None]),
        ("heldout", np.stack([INPUT, -3 * INPUT])),
        ("labelled", np.stack([INPUT, -INPUT, -INPUT])),
    ):
        (tmp_path / name).write_bytes(as_raw({"x": array}, inputs))
        transport.put(tmp_path / name, name)
    payload = packed(tmp_path / "payloads")
    for source, name in ((payload, "gate.pyz"), (tmp_path / "program", "program")):
        transport.put(source, name)
    deployed = Deployed(
        python=Interpreter((sys.executable, "-s", "-E"), {}), payload="gate.pyz", artifact="artifact",
        inputs="given", heldout="heldout", labelled="labelled", pictures=pictures,
        native="program/runner",
        description={"inputs": inputs, "outputs": [{"name": "y", "shape": [1, 6]}]},
        input_arrays={"x": INPUT}, reference={"y": INPUT * 2}, classes=False, variables={},
        heldout_reference={"y": np.stack([INPUT, -3 * INPUT]) * 2},
    )  # fmt: skip
    return Setting(transport, protocol_of(), 2), deployed


def launch_record(setting: Setting, deployed: Deployed, mode: str) -> dict[str, Any]:
    return launch(
        setting, deployed, CELL, **asked(SMALLEST, mode), cores=None, scratch="launches/one"
    )


def test_a_native_runner_takes_the_runner_s_place(stand_in):
    setting, deployed = stand_in
    record = launch_record(setting, deployed, "measure")
    assert (record["status"], record["reason"]) == ("ok", None)
    assert set(record["phases"]) == {"start", "import", "read", "load", "first"}
    assert record["warmup_ms"] + record["warm_ms"] == [1.0, 2.0, 3.0]
    assert record["actual"] == {"mode": "measure"} and record["comparison"]["cosine"] == 1.0
    record = launch_record(setting, deployed, "quality")
    assert (record["quality"]["samples"], record["quality"]["cosine"]) == (2, 1.0)
    record = launch_record(setting, deployed, "accuracy")
    accuracy = record["accuracy"]
    assert (accuracy["problem"], accuracy["images"]) == (None, 3)
    assert (accuracy["top1"], accuracy["top5"]) == (2, 2)
    assert not list((setting.transport.work_folder / "launches").iterdir())


def test_gates_are_the_runner_s_in_python(stand_in):
    setting, deployed = stand_in
    gate = Gates(setting, lambda what, waited_s: None).pass_through(deployed, 1, None)
    assert "problem" not in gate and gate["calibration"]["compute_ms"] > 0


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.delenv("CELLFARM_ENVIRONMENTS", raising=False)
    return make_project(tmp_path / "project")


def write_host(project: Project, **changes: Any) -> None:
    document = {"name": "host", "transport": "local", "work_folder": "results/work/host",
                "processors": ["cpu"]}  # fmt: skip
    write_yaml(project.devices / "host.yaml", document | changes)


def test_a_device_runs_a_library_in_its_native_runner_if_its_file_says_so(project):
    write_host(project, native=["ncnn"])
    device = read_device(project, "host", "test")
    needs = needs_of(device, FACTS, "ncnn", "1.0", "onnx")
    assert (needs.run, needs.native) == ("ncnn@1.0.native", True)
    needs = needs_of(device, FACTS, "mnn", "1.0", "onnx")
    assert (needs.run, needs.native) == ("mnn@1.0.run", False)


def test_a_native_runner_changes_the_causes_of_that_device_s_cells_only(project, monkeypatch):
    def causes_with(**changes: Any) -> dict[str, str]:
        write_host(project, **changes)
        configuration = load(project, CONFIG, "test")
        chains = Chains(project, configuration)
        return Causes(project, configuration, {"host": FACTS}, chains).of(CELL, "latency")

    plain, native = causes_with(), causes_with(native=["ncnn"])
    assert plain["device"] != native["device"]
    assert plain | {"device": ""} == native | {"device": ""}
    monkeypatch.setattr("cellfarm.planning.causes.native_code", lambda device: ["another program"])
    assert causes_with(native=["ncnn"])["device"] != native["device"]


@pytest.mark.parametrize(
    ("native", "message"),
    [
        (["ncn"], r"key 'native': 'ncn' has no native runner \(did you mean 'ncnn'\?\); there are: ncnn"),
        (["mnn"], "'mnn' has no native runner"),
        ("ncnn", "native"),
        ([], "native"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_once(project, native, message):
    write_host(project, native=native)
    with pytest.raises(UserError, match=message):
        read_device(project, "host", "test")


FP32 = Variant("fp32", "fp32", TOLERANCE)


def refusal(document: dict[str, Any], facts: dict[str, Any]) -> str | None:
    return refusal_of(CELL, FP32, NCNN, parse_device(document, "test"), facts, {})


def test_a_device_of_another_architecture_is_refused():
    document = {"name": "host", "transport": "local", "work_folder": "results/work/host",
                "processors": ["cpu"], "native": ["ncnn"]}  # fmt: skip
    assert refusal(document, {"architecture": "x86_64"}) == (
        "native runners are for aarch64, not for x86_64"
    )
    assert refusal(document, {"architecture": "aarch64"}) is None


def test_a_device_that_gets_no_python_runs_what_is_native_and_nothing_else():
    document = {"name": "board", "transport": "ssh", "processors": ["cpu"], "python": False,
                "work_folder": "/data/cellfarm", "address": {"host": "board", "user": "root"}}  # fmt: skip
    facts = {"architecture": "aarch64", "python": "3.11", "glibc": "2.36"}
    assert refusal(document, facts) == (
        "the device gets no Python: only what stands under `native` runs there"
    )
    assert refusal(document | {"native": ["ncnn"]}, facts) is None
    device = parse_device(document, "test")
    for device_facts in (facts, facts | {"python": None}):
        assert target_on(device, device_facts) is None
        assert needs_of(device, device_facts, "ncnn", "1.0", "onnx").python is None
    with_python = parse_device(document | {"python": True}, "test")
    assert needs_of(with_python, facts | {"python": None}, "ncnn", "1.0", "onnx").python


def test_without_python_there_is_no_gate(stand_in):
    setting, deployed = stand_in
    without_python = replace(deployed, python=Interpreter((), {}))
    gate = Gates(setting, lambda what, waited_s: None).pass_through(without_python, 1, None)
    assert gate == {"problem": "the device gets no Python, in which gates run"}
    assert launch_flags({"gate": gate}) == {"ungated"}
    record = launch_record(setting, without_python, "measure")
    assert record["status"] == "ok"


def test_this_machine_has_a_python(project):
    write_host(project, python=False)
    with pytest.raises(UserError, match="python"):
        read_device(project, "host", "test")


def test_a_native_runner_s_sources_are_those_of_the_locked_version():
    source = load_yaml(NCNN.folder / "native/source.yaml")
    lock = lock_of(Project(REPOSITORY), library_environment("ncnn", VERSION, "run"))
    assert source["version"] == VERSION and source["sha256"] in lock.read_text()


def test_without_the_compiler_the_reason_says_what_installs_it(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    state = build(locate(project, library_environment("ncnn", VERSION, NATIVE)))
    assert state.status == "failed"
    assert state.reason == (
        "a native runner is built with aarch64-linux-gnu-gcc, which is not installed: on Debian or Ubuntu, "
        "apt install g++-aarch64-linux-gnu"
    )


class Builder:
    """Stands for CMake: it takes the sources from a made-up archive and writes a file as the program."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = folder / "environment/packages"
        self.out.parent.mkdir()
        self.commands: list[list[str]] = []
        self.sdist = "sdist = {url = 'https://example.org/ncnn.tar.gz'}"
        monkeypatch.setattr(native_building, "fetch", self.fetch)

    def fetch(self, download: Any, folder: Path, say: Any) -> Path:
        assert download.url == "https://example.org/ncnn.tar.gz"
        assert download.sha256 == load_yaml(NCNN.folder / "native/source.yaml")["sha256"]
        path = folder / download.sha256
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("ncnn-1/CMakeLists.txt")
            archive.addfile(member, io.BytesIO())
        return path

    def run(self, argv: list[str], program: str) -> None:
        if program == "uv":
            requirements, lock_file = Path(argv[-1]).read_text(), Path(argv[argv.index("-o") + 1])
            assert requirements == f"ncnn=={VERSION}\n"
            lock_file.write_text(f"[[packages]]\nname = 'ncnn'\n{self.sdist}\n")
            return
        self.commands.append(argv)
        (source,) = (self.out.parent / "work/source").iterdir()
        assert (source / "CMakeLists.txt").is_file()
        build = self.out.parent / "work/build"
        if "--build" in argv:
            (build / "runner").write_bytes(b"program")
            (build / "runner").chmod(0o755)
        else:
            build.mkdir()

    def build(self, version: str = VERSION) -> None:
        build_runner(NCNN, version, self.out, Path("/uv"), Path("/cmake"), self.run)


def test_a_runner_is_built_from_its_sources_and_nothing_else_is_left(tmp_path, monkeypatch):
    builder = Builder(tmp_path, monkeypatch)
    builder.build()
    assert [path.name for path in builder.out.parent.iterdir()] == ["packages"]
    assert [path.name for path in builder.out.iterdir()] == ["runner"]
    assert (builder.out / "runner").stat().st_mode & 0o100
    configure, compile_ = builder.commands
    assert configure[:3] == ["/cmake", "-S", str(NCNN.folder / "native")]
    assert {"-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++", f"-DLIBRARY_VERSION={VERSION}",
            "-DCMAKE_SYSTEM_PROCESSOR=aarch64"} <= set(configure)  # fmt: skip
    assert compile_[1] == "--build"


def test_a_build_that_fails_leaves_no_program(tmp_path, monkeypatch):
    builder = Builder(tmp_path, monkeypatch)

    def fail(argv: list[str], program: str) -> None:
        raise PermanentHostError(f"{program} does not")

    monkeypatch.setattr(builder, "run", fail)
    with pytest.raises(PermanentHostError, match="uv does not"):
        builder.build()
    assert not list(builder.out.parent.iterdir())


def test_sources_that_no_index_has(tmp_path, monkeypatch):
    builder = Builder(tmp_path, monkeypatch)
    builder.sdist = ""
    with pytest.raises(
        PermanentHostError, match=f"no package index has the sources of ncnn=={VERSION}"
    ):
        builder.build()


def test_another_version_has_no_native_runner(tmp_path, monkeypatch):
    with pytest.raises(PermanentHostError, match=f"native runner at {VERSION} only, not at 1.0"):
        Builder(tmp_path, monkeypatch).build("1.0")


def test_a_change_of_its_sources_is_another_environment(project, tmp_path, monkeypatch):
    name = library_environment("ncnn", VERSION, NATIVE)
    before = locate(project, name)
    assert before.folder.name.startswith(f"{name}-")
    copied = tmp_path / "ncnn"
    shutil.copytree(NCNN.folder, copied)
    (copied / "native/main.cpp").write_text("int main() {}")
    changed = {**all_libraries(), "ncnn": structs.replace(NCNN, folder=copied)}
    monkeypatch.setattr("cellfarm.envs.environments.all_libraries", lambda: changed)
    assert locate(project, name).folder != before.folder
