"""The real pipeline re-measures the cells whose causes changed, and no others."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from tests.support.farm import ALL, Farm

pytestmark = pytest.mark.pipeline
NOTHING = "nothing to measure"


def test_touching_files_changes_nothing(farm: Farm) -> None:
    for folder in ("workflow", "config", "models", "devices", "envs"):
        for path in (farm.root / folder).rglob("*"):
            os.utime(path)
    os.utime(farm.root / "Snakefile")
    assert farm.outlook() == {"cells": {}, "steps": []}
    before, steps = farm.result_files(), farm.step_files()
    assert NOTHING in farm.run().stdout
    assert farm.measured_since(before) == set()
    assert farm.steps_since(steps) == set()


def test_reordering_and_commenting_the_config_changes_nothing(farm: Farm) -> None:
    farm.configure(
        models=["small_mobilenet", "small_squeezenet"], libraries=["ncnn", "onnxruntime"]
    )
    farm.edit("models/small_mobilenet.yaml", lambda text: f"# a comment\n{text}")
    assert farm.outlook() == {"cells": {}, "steps": []}


def test_a_new_model_is_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    farm.add_model("another", "squeezenet1_1", size=48)
    farm.configure(models=["small_squeezenet", "small_mobilenet", "another"])
    assert farm.outlook()["cells"].keys() == {"another onnxruntime", "another ncnn"}
    farm.run("measured")
    assert farm.measured_since(before) == {"another onnxruntime", "another ncnn"}


def test_another_version_of_a_library_is_locked_and_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    farm.configure(libraries=["onnxruntime", "ncnn@1.0.20260526"])
    new = dict.fromkeys(
        ("small_squeezenet ncnn", "small_mobilenet ncnn"), "new version of the library"
    )
    assert farm.outlook()["cells"] == new
    farm.run("measured")
    assert farm.measured_since(before) == new.keys()
    versions = farm.query("SELECT DISTINCT library_version AS v FROM cells WHERE library = 'ncnn'")
    assert versions == [{"v": "1.0.20260526"}]
    latencies = "SELECT * FROM history WHERE library = 'ncnn' AND measure = 'latency'"
    assert len(farm.query(latencies)) == 4


def test_a_changed_device_is_measured_alone(farm: Farm) -> None:
    farm.write("devices/other.yaml", {**_device("other")})
    farm.configure(devices=["host", "other"])
    farm.run("measured")
    assert farm.outlook()["cells"] == {}
    farm.write("devices/other.yaml", {**_device("other"), "work_folder": "results/work/elsewhere"})
    changed = "the device (its description or its fingerprint) changed"
    assert farm.outlook() == {"cells": dict.fromkeys(ALL, changed), "steps": []}


def changed(farm: Farm, path: str) -> dict[str, Any]:
    """What a run would do after a change to a file of the package."""
    farm.edit(f"workflow/cellfarm/{path}", lambda text: f"{text}\n# changed\n")
    return farm.outlook()


NCNN = {"small_squeezenet ncnn", "small_mobilenet ncnn"}


def test_a_changed_converter_converts_and_measures_its_library(farm: Farm) -> None:
    outlook = changed(farm, "libraries/ncnn/convert.py")
    reason = "the converter (its code, its lock or the precision) changed"
    assert outlook["cells"] == dict.fromkeys(NCNN, reason)
    assert {step.split("@")[0] for step in outlook["steps"]} == {"artifacts/ncnn"}


def test_a_changed_runner_measures_everything_and_converts_nothing(farm: Farm) -> None:
    reason = "the measure (its code or its settings) changed"
    assert changed(farm, "runner/phases.py") == {"cells": dict.fromkeys(ALL, reason), "steps": []}


def test_a_changed_backend_measures_its_library(farm: Farm) -> None:
    reason = "the library (its back end or its lock) changed"
    assert changed(farm, "libraries/ncnn/backend.py") == {
        "cells": dict.fromkeys(NCNN, reason), "steps": []
    }  # fmt: skip


def test_an_unrelated_module_changes_nothing(farm: Farm) -> None:
    for folder in ("runner", "models", "passes", "measures", "libraries/ncnn"):
        (farm.root / f"workflow/cellfarm/{folder}/unrelated.py").write_text("X = 1\n")
    assert farm.outlook() == {"cells": {}, "steps": []}


def test_converted_makes_artifacts_and_measures_nothing(farm: Farm) -> None:
    # An earlier run of the tests may have made it.
    for folder in farm.root.glob("results/artifacts/onnxruntime@*/small_squeezenet/fp16"):
        shutil.rmtree(folder)
    before, steps = farm.result_files(), farm.step_files()
    farm.configure(models=["small_squeezenet"], libraries=["onnxruntime"], variants=["fp16"])
    output = farm.run("converted").stdout
    assert "1 environment: 1 ok" in output and "1 artifact: 1 ok" in output, output
    assert "Nothing was measured" in output
    assert farm.measured_since(before) == set()
    (artifact,) = farm.steps_since(steps)
    assert artifact.startswith("artifacts/onnxruntime@") and artifact.endswith("/small_squeezenet")
    assert "Nothing to be done" in farm.run("converted").stdout


def test_a_changed_chart_measures_nothing_and_makes_the_report_anew(farm: Farm) -> None:
    before = farm.result_files()
    page = farm.root / "reports/index.html"
    stamp = page.stat().st_mtime_ns
    farm.edit("workflow/cellfarm/report/charts.py", lambda text: f"{text}\n# changed\n")
    completed = farm.run()
    assert NOTHING in completed.stdout
    assert farm.measured_since(before) == set()
    assert page.stat().st_mtime_ns > stamp


def test_the_same_result_deleted_twice_is_measured_twice(farm: Farm) -> None:
    for _ in range(2):
        before = farm.result_files()
        result = next(path for path in before if "ncnn" in path and "small_mobilenet" in path)
        (farm.root / "results/cells" / result).unlink()
        farm.run("measured")
        assert farm.measured_since(before) == {"small_mobilenet ncnn"}


def test_a_removed_library_leaves_the_cells_and_stays_in_the_history(farm: Farm) -> None:
    before = farm.result_files()
    farm.configure(libraries=["onnxruntime"])
    assert NOTHING in farm.run().stdout
    assert farm.measured_since(before) == set()
    assert {row["library"] for row in farm.query("FROM cells")} == {"onnxruntime"}
    assert {row["library"] for row in farm.query("FROM history")} == {"onnxruntime", "ncnn"}


def test_narrowing_on_the_command_line(farm: Farm) -> None:
    completed = farm.run("-n", "--config", "models=[small_squeezenet]", "threads=[1,2]")
    assert "2 of 4 cells to measure" in completed.stdout


def test_the_warehouse_is_rebuilt_to_the_same_content(farm: Farm) -> None:
    views = ("cells", "samples", "history", "conditions", "operators", "devices")
    before = {view: farm.query(f"FROM {view} ORDER BY ALL") for view in views}
    (farm.root / "results/cellfarm.duckdb").unlink()
    farm.cellfarm("rebuild")
    assert {view: farm.query(f"FROM {view} ORDER BY ALL") for view in views} == before


def test_the_deployment_is_copied_only_when_absent(farm: Farm) -> None:
    work_folder = farm.root / "results/work/host"
    stamps = {path: path.stat().st_mtime_ns for path in work_folder.rglob("*") if path.is_file()}
    assert stamps
    result = next(iter(farm.result_files()))
    (farm.root / "results/cells" / result).unlink()
    farm.run("measured")
    assert {
        path: path.stat().st_mtime_ns for path in work_folder.rglob("*") if path.is_file()
    } == stamps


def _device(name: str) -> dict[str, object]:
    return {
        "name": name,
        "transport": "local",
        "work_folder": f"results/work/{name}",
        "processors": ["cpu"],
    }
