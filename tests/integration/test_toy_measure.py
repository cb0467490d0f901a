"""A measure is one folder: the farm measures a new toy measure, and nothing else again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.support.farm import Farm
from tests.support.pages import unpacked
from tests.support.protocols import SMALLEST, with_measures

pytestmark = pytest.mark.pipeline

MEASURE = """\
name: set_inputs
title: "setting the inputs"
about: "the time that a library takes to take over its inputs"
order: 70
essential: false
timed: true
reason: set_inputs_reason
defaults: {runs: 20}
columns:
  set_inputs_ms:
    {type: DOUBLE, unit: ms, better: lower, title: "Set inputs", table: true,
     means: "median time of handing over the inputs"}
  set_inputs_reason: {type: VARCHAR, means: "why it is not known"}
"""
DEVICE = '''\
"""Hands over the inputs a few times."""

import statistics
import time

import phases


def run(request, emit):
    phases.start(request, emit)
    session = phases.load(request, emit)
    inputs = phases.read_inputs(request["inputs"], request["model"]["inputs"])
    emit("phase", name="set inputs")
    times_ms = []
    for _ in range(request["runs"]):
        began = time.monotonic_ns()
        session.set_inputs(inputs)
        times_ms.append(phases.since_ms(began))
    emit("done", name="set_inputs", ms=statistics.median(times_ms))
    phases.first(request, session, emit)
    phases.end(emit)
'''
HOST = '''\
"""The time that a library takes to take over its inputs."""

from typing import Annotated

from msgspec import Meta, Struct

from ..hosts import Host, Summary
from ..launches import of_mode


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    runs: Annotated[int, Meta(ge=1, description="a whole number from 1")]


class SetInputs(Host[Settings]):
    schema = Settings
    modes = ("set_inputs",)

    def after_rounds(self, settings, emulated):
        return () if emulated else self.modes

    def request(self, settings, launch_timeout_s):
        return {"runs": settings.runs}

    def summarise(self, launches, settings, context):
        launches = of_mode(launches, *self.modes)
        if not launches or launches[-1]["status"] != "ok":
            return Summary({"set_inputs_reason": launches[-1]["reason"] if launches else None})
        return Summary({"set_inputs_ms": launches[-1]["phases"]["set_inputs"]})


HOST = SetInputs()
'''
FILES = {"measure.yaml": MEASURE, "device.py": DEVICE, "host.py": HOST}


@pytest.fixture
def toy(farm: Farm) -> Farm:
    """The measured farm with one more measure: a folder, and its name in the protocol."""
    folder = farm.root / "workflow/cellfarm/measures/set_inputs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    farm.write("config/protocols/test.yaml", with_measures(SMALLEST, set_inputs={}))
    farm.configure(models=["small_squeezenet"], libraries=["ncnn"])
    return farm


def test_it_is_measured_alone_and_has_a_column_everywhere(toy: Farm, tmp_path: Path) -> None:
    before, steps = toy.result_files(), toy.step_files()
    assert toy.outlook() == {
        "cells": {"small_squeezenet ncnn": "set_inputs: no result yet"},
        "steps": [],
    }
    toy.run()
    (new,) = {path for path, stamp in toy.result_files().items() if before.get(path) != stamp}
    assert Path(new).name.startswith("set_inputs-") and toy.step_files() == steps
    (row,) = toy.query("SELECT status, set_inputs_ms, set_inputs_reason, latency_ms FROM cells")
    assert row["status"] == "ok" and row["set_inputs_reason"] is None
    assert 0 < row["set_inputs_ms"] < 1000 and row["latency_ms"] > 0
    toy.cellfarm("export", str(tmp_path / "export"))
    dictionary = json.loads((tmp_path / "export/dictionary.json").read_text(encoding="utf-8"))
    assert {
        "name": "set_inputs_ms",
        "type": "DOUBLE",
        "unit": "ms",
        "means": "median time of handing over the inputs",
    } in dictionary["cells"]["columns"]
    (exported,) = csv.DictReader(
        io.StringIO(toy.cellfarm("query", "FROM cells", "--format", "csv"))
    )
    assert float(exported["set_inputs_ms"]) == row["set_inputs_ms"]
    page = (toy.root / "reports/index.html").read_text(encoding="utf-8")
    data = json.loads(unpacked(page, "report"))
    assert data["columns"]["set_inputs_ms"] == [pytest.approx(row["set_inputs_ms"], rel=1e-4)]
    columns = {measure["title"]: measure["columns"] for measure in data["measures"]}
    assert columns["setting the inputs"]["set_inputs_ms"]["table"] is True


def test_other_settings_of_it_measure_it_again_and_nothing_else(toy: Farm) -> None:
    toy.run("measured")
    before = toy.result_files()
    toy.write("config/protocols/test.yaml", with_measures(SMALLEST, set_inputs={"runs": 3}))
    assert toy.outlook()["cells"] == {
        "small_squeezenet ncnn": "set_inputs: the measure (its code or its settings) changed"
    }
    toy.run("measured")
    (new,) = {path for path, stamp in toy.result_files().items() if before.get(path) != stamp}
    assert Path(new).name.startswith("set_inputs-")


def test_a_library_that_cannot_do_it_keeps_the_rest(toy: Farm) -> None:
    toy.edit(
        "workflow/cellfarm/measures/set_inputs/device.py",
        lambda text: text.replace("    times_ms = []", "    raise RuntimeError('no inputs')"),
    )
    toy.run()
    (row,) = toy.query("SELECT status, set_inputs_ms, set_inputs_reason, latency_ms FROM cells")
    assert (row["status"], row["set_inputs_ms"]) == ("ok", None) and row["latency_ms"] > 0
    assert row["set_inputs_reason"] == "in phase set inputs: RuntimeError: no inputs"
