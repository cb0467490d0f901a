"""A cell's failure is that cell's result; the others go on, and the run exits with 0."""

from __future__ import annotations

import pytest

from tests.support.farm import ALL, PROTOCOL, Farm

pytestmark = pytest.mark.pipeline
BACKEND = "workflow/cellfarm/libraries/onnxruntime/backend.py"
SQUEEZENET = "small_squeezenet onnxruntime"


def break_backend(farm: Farm, line: str, signature: str = "    def invoke(") -> None:
    """Put a line at the start of a method of ONNX Runtime's back end."""

    def change(text: str) -> str:
        start = text.index(":\n", text.index(signature)) + 2
        return f"{text[:start]}        {line}\n{text[start:]}"

    farm.edit(BACKEND, change)


def statuses(farm: Farm) -> dict[str, tuple[str, str | None]]:
    rows = farm.query("FROM cells")
    return {f"{row['model']} {row['library']}": (row["status"], row["reason"]) for row in rows}


def assert_recorded(farm: Farm, status: str, reason: str) -> None:
    """Assert that both cells of ONNX Runtime have the status, the others are ok, and the summary agrees."""
    farm.run("measured")
    cells = statuses(farm)
    assert set(cells) == ALL
    for cell, (actual, recorded_reason) in cells.items():
        if cell.endswith("onnxruntime"):
            assert (actual, reason in str(recorded_reason)) == (status, True), recorded_reason
        else:
            assert actual == "ok"
    summary = farm.cellfarm("summary")
    assert status in summary
    assert "2 ok" in summary
    second_run = farm.run("measured")
    assert "nothing to measure" in second_run.stdout  # retried only when asked


def test_a_crash(farm: Farm) -> None:
    break_backend(farm, "import ctypes; ctypes.string_at(0)")
    assert_recorded(farm, "failed", "killed by SIGSEGV in phase first")


def test_a_hang(farm: Farm) -> None:
    protocol = PROTOCOL | {"launch_timeout_s": 4}
    farm.write("config/protocols/test.yaml", protocol)
    break_backend(farm, "import time; time.sleep(600)")
    assert_recorded(farm, "timeout", "no end within 4 s (in phase first)")
    farm.assert_no_processes()


def test_a_missing_library(farm: Farm) -> None:
    farm.edit(BACKEND, lambda text: text.replace("import onnxruntime", "import onnxruntime_gone"))
    assert_recorded(farm, "failed", "the library cannot be imported")


def test_an_unsupported_operator(farm: Farm) -> None:
    farm.edit(
        "workflow/cellfarm/libraries/onnxruntime/convert.py",
        lambda text: (
            text + "\n\ndef convert(source, out, variant, model):\n"
            "    from cellfarm_convert import Unsupported\n"
            "    raise Unsupported('operator Frobnicate')\n"
        ),
    )
    assert_recorded(farm, "unsupported", "conversion: operator Frobnicate")


def test_an_unsupported_variant(farm: Farm) -> None:
    farm.configure(variants=["fp32", "int8_weights"], models=["small_squeezenet"])
    farm.run("measured")
    rows = farm.query("SELECT library, status, reason FROM cells WHERE variant = 'int8_weights'")
    assert [row["status"] for row in rows] == ["unsupported", "unsupported"]


def test_a_wrong_output_never_ranks(farm: Farm) -> None:
    farm.edit(
        BACKEND,
        lambda text: (
            text + "\n\n_get = Session.get_outputs\n"
            "Session.get_outputs = lambda self: [array[..., ::-1] for array in _get(self)]\n"
        ),
    )
    farm.run("measured")
    rows = farm.query("FROM cells WHERE library = 'onnxruntime'")
    assert {row["status"] for row in rows} == {"wrong"}
    assert all("cosine" in row["reason"] for row in rows)
    assert all(row["latency_ms"] > 0 for row in rows)
    ranked = farm.cellfarm("summary").split("cells:")[0]
    assert all("onnxruntime" not in line for line in ranked.splitlines() if "to" in line.split())


def test_a_library_that_cannot_be_installed(farm: Farm) -> None:
    name = "onnxruntime@1.31.1.run.txt"
    farm.edit(f"envs/{name}", lambda text: f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n{text}")
    assert_recorded(farm, "failed", "environment cannot be installed")
    assert "no-such-package" in str(statuses(farm)[SQUEEZENET])


def test_a_model_whose_input_does_not_fit(farm: Farm) -> None:
    farm.edit("models/small_mobilenet.yaml", lambda text: text.replace("- 3\n", "- 5\n"))
    farm.run("measured")
    cells = statuses(farm)
    assert cells["small_mobilenet ncnn"][0] == "failed"
    assert "model" in str(cells["small_mobilenet ncnn"][1])
    assert cells["small_squeezenet ncnn"][0] == "ok"


def test_failed_cells_are_retried_on_request_alone(farm: Farm) -> None:

    break_backend(farm, "import pathlib; assert not pathlib.Path('/tmp/cellfarm-flaky').exists()")
    flaky = farm.root / "flaky"
    farm.edit(BACKEND, lambda text: text.replace("/tmp/cellfarm-flaky", str(flaky)))
    flaky.touch()
    farm.run("measured")
    assert statuses(farm)[SQUEEZENET][0] == "failed"
    flaky.unlink()
    assert "nothing to measure" in farm.run("measured").stdout
    before = farm.result_files()
    assert "2 cells of config/config.yaml will be measured again" in farm.cellfarm("retry")
    planned = farm.run("-n").stdout
    assert "a retry was asked for" in planned
    farm.run("measured")
    assert farm.measured_since(before) == {SQUEEZENET, "small_mobilenet onnxruntime"}
    assert {status for status, _ in statuses(farm).values()} == {"ok"}
    failed = farm.query("FROM history WHERE status = 'failed'")
    assert sorted(row["measure"] for row in failed) == [
        "cold_start", "cold_start", "latency", "latency", "quality", "quality",
    ]  # fmt: skip
