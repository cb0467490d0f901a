"""The real pipeline re-measures the cells whose causes changed, and no others."""

from __future__ import annotations

import os

import pytest

from tests.support.farm import ALL, Farm

pytestmark = pytest.mark.pipeline
NOTHING = "nothing to measure"


def test_everything_is_measured_verified_and_ranked(farm: Farm) -> None:
    rows = farm.query("SELECT * FROM cells")
    assert {f"{row['model']} {row['library']}" for row in rows} == ALL
    for row in rows:
        assert row["status"] == "ok", row
        assert row["cosine"] > 0.9999
        assert row["latency_ci_low_ms"] <= row["latency_ms"] <= row["latency_ci_high_ms"]
        assert row["cold_total_ms"] > row["cold_load_ms"] > 0
        assert (row["launches"], row["samples"]) == (2, 6)
    samples = farm.query("SELECT count(*) AS n FROM samples WHERE phase = 'warm'")
    assert samples == [{"n": 24}]
    assert (farm.root / "reports/index.html").is_file()


def test_a_second_run_does_nothing(farm: Farm) -> None:
    before = farm.result_files()
    done = farm.run()
    assert NOTHING in done.stdout
    assert farm.measured_since(before) == set()


def test_touching_files_changes_nothing(farm: Farm) -> None:
    before, steps = farm.result_files(), farm.step_files()
    for folder in ("workflow", "config", "models", "devices", "envs"):
        for path in (farm.root / folder).rglob("*"):
            os.utime(path)
    os.utime(farm.root / "Snakefile")
    assert NOTHING in farm.run().stdout
    assert farm.measured_since(before) == set()
    assert farm.steps_since(steps) == set()


def test_reordering_and_commenting_the_config_changes_nothing(farm: Farm) -> None:
    farm.configure(
        models=["small_mobilenet", "small_squeezenet"], libraries=["ncnn", "onnxruntime"]
    )
    farm.edit("models/small_mobilenet.yaml", lambda text: f"# a comment\n{text}")
    assert NOTHING in farm.run().stdout


def test_converted_makes_artifacts_and_measures_nothing(farm: Farm) -> None:
    before, steps = farm.result_files(), farm.step_files()
    farm.configure(models=["small_squeezenet"], libraries=["onnxruntime"], variants=["fp16"])
    said = farm.run("converted").stdout
    assert "1 environment: 1 ok" in said and "1 artifact: 1 ok" in said, said
    assert "Nothing was measured" in said
    assert farm.measured_since(before) == set()
    (made,) = farm.steps_since(steps)
    assert made.startswith("artifacts/onnxruntime@") and made.endswith("/small_squeezenet")
    assert "Nothing to be done" in farm.run("converted").stdout


def test_a_new_model_is_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    farm.add_model("another", "squeezenet1_1", size=48)
    farm.configure(models=["small_squeezenet", "small_mobilenet", "another"])
    farm.run("measured")
    assert farm.measured_since(before) == {"another onnxruntime", "another ncnn"}


def test_another_version_of_a_library_is_locked_and_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    farm.configure(libraries=["onnxruntime", "ncnn@1.0.20260526"])
    planned = farm.run("-n").stdout
    assert "ncnn@1.0.20260526 fp32 cpu t1: new version of the library" in planned
    farm.run("measured")
    assert farm.measured_since(before) == {"small_squeezenet ncnn", "small_mobilenet ncnn"}
    versions = farm.query("SELECT DISTINCT library_version AS v FROM cells WHERE library = 'ncnn'")
    assert versions == [{"v": "1.0.20260526"}]
    assert len(farm.query("SELECT * FROM history WHERE library = 'ncnn'")) == 4


def test_a_changed_device_is_measured_alone(farm: Farm) -> None:
    farm.write("devices/other.yaml", {**_device("other")})
    farm.configure(devices=["host", "other"])
    farm.run("measured")
    before = farm.result_files()
    farm.write("devices/other.yaml", {**_device("other"), "work_folder": "results/work/elsewhere"})
    assert "the device (its description or its fingerprint) changed" in farm.run("-n").stdout
    farm.run("measured")
    assert farm.measured_since(before) == ALL
    changed = set(farm.result_files()) - set(before)
    assert {path.split("/")[0] for path in changed} == {"other"}


def test_a_changed_converter_converts_and_measures_its_library(farm: Farm) -> None:
    before, steps = farm.result_files(), farm.step_files()
    farm.edit("workflow/cellfarm/libraries/ncnn/convert.py", lambda text: f"{text}\n# changed\n")
    farm.run("measured")
    assert farm.measured_since(before) == {"small_squeezenet ncnn", "small_mobilenet ncnn"}
    made = {step.split("@")[0] for step in farm.steps_since(steps)}
    assert made == {"artifacts/ncnn"}


def test_a_changed_runner_measures_everything_and_converts_nothing(farm: Farm) -> None:
    before, steps = farm.result_files(), farm.step_files()
    farm.edit("workflow/cellfarm/runner/measuring.py", lambda text: f"{text}\n# changed\n")
    farm.run("measured")
    assert farm.measured_since(before) == ALL
    assert farm.steps_since(steps) == set()


def test_a_changed_backend_measures_its_library(farm: Farm) -> None:
    before = farm.result_files()
    path = "workflow/cellfarm/libraries/onnxruntime/backend.py"
    farm.edit(path, lambda text: f"{text}\n# changed\n")
    farm.run("measured")
    assert farm.measured_since(before) == {
        "small_squeezenet onnxruntime",
        "small_mobilenet onnxruntime",
    }


def test_a_changed_chart_measures_nothing_and_makes_the_report_anew(farm: Farm) -> None:
    before = farm.result_files()
    page = farm.root / "reports/index.html"
    stamp = page.stat().st_mtime_ns
    farm.edit("workflow/cellfarm/report/charts.py", lambda text: f"{text}\n# changed\n")
    done = farm.run()
    assert NOTHING in done.stdout
    assert farm.measured_since(before) == set()
    assert page.stat().st_mtime_ns > stamp


def test_a_deleted_result_is_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    victim = next(path for path in before if "ncnn" in path and "small_mobilenet" in path)
    (farm.root / "results/cells" / victim).unlink()
    farm.run("measured")
    assert farm.measured_since(before) == {"small_mobilenet ncnn"}
    assert len(farm.query("FROM history")) == 4


def test_the_same_result_deleted_twice_is_measured_twice(farm: Farm) -> None:
    for _ in range(2):
        before = farm.result_files()
        victim = next(path for path in before if "ncnn" in path and "small_mobilenet" in path)
        (farm.root / "results/cells" / victim).unlink()
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
    done = farm.run("-n", "--config", "models=[small_squeezenet]", "threads=[1,2]")
    assert "2 of 4 cells to measure" in done.stdout


def test_the_warehouse_is_rebuilt_to_the_same_content(farm: Farm) -> None:
    views = ("cells", "samples", "history", "conditions", "operators", "devices")
    before = {view: farm.query(f"FROM {view} ORDER BY ALL") for view in views}
    (farm.root / "results/cellfarm.duckdb").unlink()
    farm.cellfarm("rebuild")
    assert {view: farm.query(f"FROM {view} ORDER BY ALL") for view in views} == before


def test_the_deployment_is_copied_only_when_absent(farm: Farm) -> None:
    work = farm.root / "results/work/host"
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    assert stamps
    victim = next(iter(farm.result_files()))
    (farm.root / "results/cells" / victim).unlink()
    farm.run("measured")
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()} == stamps


def _device(name: str) -> dict[str, object]:
    return {
        "name": name,
        "transport": "local",
        "work_folder": f"results/work/{name}",
        "processors": ["cpu"],
    }
