"""Compares ncnn's native runner, cross-compiled and run by qemu, with the runner in Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project
from cellfarm.base.records import FILES
from cellfarm.envs.debian.trees import make_tree
from cellfarm.envs.native_building import PROGRAM, missing_compiler

from tests.support.projects import REPOSITORY
from tests.support.small_model import SAMPLES, Subject, environment, make_model

pytestmark = [
    pytest.mark.skipif(
        missing_compiler() is not None, reason=f"{missing_compiler()} is not installed"
    ),
    # ncnn is compiled once for each checkout.
    pytest.mark.timeout(2400),
]
CHECKOUT = Project(REPOSITORY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def native(folder) -> Path:
    """A folder with a program that is the native runner under qemu."""
    subject = Subject.of("ncnn", "fp32", folder / "model")
    program = subject.environment("native").packages / PROGRAM
    lock = (CHECKOUT.locks / "virtual.qemu.txt").read_text(encoding="utf-8")
    qemu = make_tree(lock, CHECKOUT.environments) / "usr/bin/qemu-aarch64-static"
    wrapped = folder / "wrapped"
    wrapped.mkdir()
    (wrapped / PROGRAM).write_text(f'#!/bin/sh\nexec "{qemu}" "{program}"\n')
    (wrapped / PROGRAM).chmod(0o755)
    return wrapped


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def subject(request, folder) -> Subject:
    environment("models")
    model = folder / "model"
    if not model.exists():
        make_model(model)
    subject = Subject.of("ncnn", request.param, model, native="onnx")
    record = subject.convert()
    assert record.status == "ok", record
    return subject


def verdict(record: dict[str, Any]) -> tuple[str, str | None]:
    return record["status"], record["reason"]


def test_its_records_are_those_of_the_runner_in_python(subject, native):
    python, record = subject.launch("measure"), subject.launch("measure", native=native)
    assert verdict(python) == verdict(record) == ("ok", None)
    assert set(record) == set(python)
    assert set(record["phases"]) == set(python["phases"])
    assert all(ms >= 0 for ms in record["phases"].values())
    assert len(record["warmup_ms"] + record["warm_ms"]) == 3
    assert min(record["warmup_ms"] + record["warm_ms"]) > 0
    assert record["library_version"] == python["library_version"]
    assert record["actual"] == python["actual"] | {"runner": "native"}
    memory = record["resources"]
    assert memory["peak_load_rss_mb"] >= memory["load_rss_mb"] > 1
    assert memory["cpu_utilisation"] > 0 and memory["other_cpu_utilisation"] >= 0
    # The facts from the sampler and from /proc's tasks are missing.
    assert set(memory) <= set(python["resources"]) and record.get("conditions") is None
    assert record["page_cache_share"] == 1.0


def test_its_outputs_are_those_of_the_runner_in_python(subject, native):
    python, record = subject.launch("quality"), subject.launch("quality", native=native)
    assert verdict(python) == verdict(record) == ("ok", None)
    for launch in (python, record):
        assert launch["quality"]["samples"] == SAMPLES
    # Other kernels round differently; in 8 bits a value may fall on the other side.
    tolerance = 1e-5 if subject.variant == "fp32" else 1e-2
    assert record["quality"]["cosine"] == pytest.approx(python["quality"]["cosine"], abs=tolerance)
    assert record["quality"]["cosine"] > (0.99999 if subject.variant == "fp32" else 0.97)


def test_its_operators_are_those_of_the_profiler_in_python(subject, native):
    python, record = subject.launch("profile"), subject.launch("profile", native=native)
    assert verdict(python) == verdict(record) == ("ok", None)
    names = [[(operator["name"], operator["type"]) for operator in launch["profile"]["operators"]]
             for launch in (python, record)]  # fmt: skip
    assert names[0] == names[1] and len(names[0]) > 5
    assert record["profile"]["method"] == python["profile"]["method"]


def test_a_cold_launch_ends_with_the_first_inference(subject, native):
    record = subject.launch("cold", native=native)
    assert verdict(record) == ("ok", None)
    assert set(record["phases"]) == {"start", "import", "read", "load", "first"}
    assert "warm_ms" not in record and 0 <= record["page_cache_share"] <= 1


def test_it_runs_where_it_is_told_and_says_so(subject, native):
    record = subject.launch("measure", native=native, cores=[0])
    assert record["affinity"] == record["asked_cores"] == [0]


def test_a_gpu_is_refused_with_a_reason(subject, native):
    record = subject.launch("measure", "gpu", native=native)
    assert verdict(record) == ("unsupported", "the native runner of ncnn runs on the cpu only")


def test_pictures_that_are_too_many_are_refused_with_a_reason(subject, native):
    record = subject.launch("accuracy", native=native)  # none were put there
    assert verdict(record) == (
        "unsupported", "too many for the native runner, which reads them as floats",
    )  # fmt: skip


def test_a_broken_artifact_fails_where_it_is_loaded(subject, native):
    deployed = subject.work / "device/artifact"
    file = next((subject.work / "artifact" / FILES).glob("*.param"))
    content = file.read_bytes()
    try:
        file.write_bytes(b"nonsense")
        # What is on the device is as it was put there: it would not be put there again.
        shutil.rmtree(deployed, ignore_errors=True)
        record = subject.launch("measure", native=native)
    finally:
        file.write_bytes(content)
        shutil.rmtree(deployed)
    assert verdict(record) == (
        "failed", "in phase load: RuntimeError: ncnn: the .param file does not load",
    )  # fmt: skip
