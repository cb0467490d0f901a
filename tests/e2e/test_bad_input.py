"""A user's mistake is one clear message that names the file, exit code 2, and no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.support.farm import Farm

pytestmark = pytest.mark.pipeline


def _unknown_model(farm: Farm) -> None:
    farm.configure(models=["small_squeezenot"])


def _unknown_library(farm: Farm) -> None:
    farm.configure(libraries=["ncn"])


def _unknown_version(farm: Farm) -> None:
    farm.configure(libraries=["ncnn@0.0.0.1"])


def _unknown_device(farm: Farm) -> None:
    farm.configure(devices=["hots"])


def _typo_in_config(farm: Farm) -> None:
    farm.edit("config/config.yaml", lambda text: text.replace("threads:", "thread:"))


def _key_twice_in_config(farm: Farm) -> None:
    farm.edit("config/config.yaml", lambda text: text + "threads: [2]\n")


def _alias_within_itself(farm: Farm) -> None:
    farm.edit(
        "models/small_mobilenet.yaml",
        lambda text: text.replace("arguments: {}", "arguments: &a {x: *a}"),
    )


def _typo_in_model(farm: Farm) -> None:
    farm.edit("models/small_mobilenet.yaml", lambda text: text.replace("weights:", "wieghts:"))


def _typo_in_device(farm: Farm) -> None:
    farm.edit("devices/host.yaml", lambda text: text.replace("local", "lokal"))


def _no_model(farm: Farm) -> None:
    (farm.root / "models/small_mobilenet.yaml").write_bytes(b"\x00\xff\xfe not a model")


def _list_for_model(farm: Farm) -> None:
    (farm.root / "models/small_mobilenet.yaml").write_text("- just\n- a list\n")


def _broken_yaml(farm: Farm) -> None:
    (farm.root / "models/small_mobilenet.yaml").write_text("name: [unclosed\n")


def _unwritable_device(farm: Farm) -> None:
    (farm.root / "a-file").write_text("")
    farm.edit(
        "devices/host.yaml",
        lambda text: text.replace("results/work/host", f"{farm.root}/a-file/work"),
    )


def _useless_exclude(farm: Farm) -> None:
    farm.configure(exclude=[{"library": "ncnn", "threads": 7}])


def _infinite_protocol(farm: Farm) -> None:
    farm.edit("config/protocols/test.yaml", lambda text: text.replace(": 60", ": .inf"))


def _work_folder_outside(farm: Farm) -> None:
    farm.edit("devices/host.yaml", lambda text: text.replace("results/work/host", "../x"))


def _nothing_left(farm: Farm) -> None:
    farm.configure(exclude=[{"variant": "fp32"}])


CASES: dict[str, tuple[Callable[[Farm], None], list[str]]] = {
    "key twice in the config": (
        _key_twice_in_config,
        ["config/config.yaml:", "not valid YAML", "threads"],
    ),
    "alias within itself": (
        _alias_within_itself,
        ["models/small_mobilenet.yaml", "alias"],
    ),
    "unknown model": (
        _unknown_model,
        ["config/config.yaml", "small_squeezenot", "small_squeezenet"],
    ),
    "unknown library": (_unknown_library, ["config/config.yaml", "'ncn'", "did you mean 'ncnn'"]),
    "unknown version": (_unknown_version, ["ncnn@0.0.0.1"]),
    "unknown device": (_unknown_device, ["'hots'", "did you mean 'host'"]),
    "typo in config": (
        _typo_in_config,
        ["config/config.yaml", "'thread'", "did you mean 'threads'"],
    ),
    "typo in model": (
        _typo_in_model,
        ["small_mobilenet.yaml", "'wieghts'", "did you mean 'weights'"],
    ),
    "typo in device": (_typo_in_device, ["host.yaml", "'transport'", "local"]),
    "no model": (_no_model, ["small_mobilenet.yaml", "cannot be read"]),
    "list for model": (_list_for_model, ["small_mobilenet.yaml", "mapping", "a list"]),
    "broken YAML": (_broken_yaml, ["small_mobilenet.yaml", "not valid YAML"]),
    "unwritable device": (_unwritable_device, ["a-file/work", "cannot be written", "host.yaml"]),
    "infinite time-out": (_infinite_protocol, ["test.yaml", "launch_timeout_s", "finite"]),
    "work folder outside": (_work_folder_outside, ["host.yaml", "'work_folder'", "results/work/"]),
    "nothing left": (_nothing_left, ["config/config.yaml", "every cell"]),
    "useless exclude": (_useless_exclude, ["exclude[0]", "matches no cell"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_clear_message(farm: Farm, case: str) -> None:
    mistake, expected = CASES[case]
    mistake(farm)
    before = farm.result_files()
    completed = farm.run(code=2)
    message = [line for line in completed.stdout.splitlines() if line.startswith("cellfarm: ")]
    assert len(message) == 1, completed.stdout
    for word in expected:
        assert word in message[0]
    assert "Traceback" not in completed.stdout
    assert farm.result_files() == before


def test_a_plan_that_cannot_be_written_is_one_message(farm: Farm) -> None:
    shutil.rmtree(farm.root / "results/plans", ignore_errors=True)
    (farm.root / "results/plans").write_text("in the way")
    farm.configure(threads=[1, 2])
    completed = farm.run(code=75)
    message = [line for line in completed.stdout.splitlines() if line.startswith("cellfarm: ")]
    assert len(message) == 1 and "cannot be planned" in message[0], completed.stdout
    assert "results/plans" in message[0] and "Traceback" not in completed.stdout


def test_commands_say_what_is_wrong(farm: Farm) -> None:
    assert "the query failed" in farm.cellfarm("query", "SELECT nothing FROM nowhere", code=2)
    assert "needs --output" in farm.cellfarm("query", "FROM cells", "--format", "parquet", code=2)
    assert "cannot retry status 'ok'" in farm.cellfarm("retry", "--status", "ok", code=2)
    for option in ("--model", "--library", "--device"):
        assert "no cell of this config" in farm.cellfarm("retry", option, "nope", code=2)
    (farm.root / "results/cellfarm.duckdb").unlink()
    assert "no warehouse yet" in farm.cellfarm("query", "FROM cells", code=2)


def test_doctor_tells_what_it_finds(farm: Farm) -> None:
    text = farm.cellfarm("doctor")
    for word in ("snakemake", "onnxruntime@1.31.1.run", "Device host", "cores", "12 results"):
        assert word in text
    farm.configure(models=["gone"])
    assert "unknown model 'gone'" in farm.cellfarm("doctor", code=2)


def test_damage_to_what_is_generated_mends_itself(farm: Farm) -> None:
    """A new run repairs a truncated result, lost artifacts, a broken warehouse and broken notes."""
    results = sorted(farm.result_files())
    truncated = farm.root / "results/cells" / results[0]
    truncated.write_text(truncated.read_text()[:300])
    assert "damaged results were set aside: start again" in farm.run("measured", code=1).stdout
    assert truncated.with_name(f"{truncated.name}.unreadable").is_file()
    farm.run("measured")
    assert len(farm.query("FROM cells")) == 4

    for folder in (farm.root / "results").glob("artifacts/ncnn*/*/fp32/*/files"):
        shutil.rmtree(folder)
    shutil.rmtree(farm.root / "results/work")
    for path in farm.result_files():
        (farm.root / "results/cells" / path).unlink()
    assert "is missing or changed" in farm.run("measured", code=1).stdout
    farm.run("measured", code=None)  # one model's experiment may have stopped before the other's
    farm.run("measured")
    assert {row["status"] for row in farm.query("FROM cells")} == {"ok"}

    shutil.rmtree(farm.root / "results/plans")
    (farm.root / "results/cellfarm.duckdb").write_text("garbage")
    assert "cellfarm rebuild" in farm.cellfarm("query", "FROM cells", code=2)
    farm.cellfarm("rebuild")
    assert len(farm.query("FROM cells")) == 4
    (farm.root / "results/cellfarm.duckdb").write_text("garbage")
    (farm.root / "results/state.json").write_text("null")
    assert "damaged and made anew" in farm.run("measured").stdout
    assert len(farm.query("FROM cells")) == 4
