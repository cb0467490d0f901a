"""A user's mistake is one clear message that names the file, exit code 2, and no traceback."""

from __future__ import annotations

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
    farm.edit("devices/host.yaml", lambda text: text.replace("results/work/host", "a-file/work"))


def _useless_exclude(farm: Farm) -> None:
    farm.configure(exclude=[{"library": "ncnn", "threads": 7}])


CASES: dict[str, tuple[Callable[[Farm], None], list[str]]] = {
    "unknown model": (
        _unknown_model,
        ["config/config.yaml", "small_squeezenot", "small_squeezenet"],
    ),
    "unknown library": (_unknown_library, ["'ncn'", "did you mean 'ncnn'"]),
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
    "useless exclude": (_useless_exclude, ["exclude[0]", "matches no cell"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_clear_message(farm: Farm, case: str) -> None:
    mistake, words = CASES[case]
    mistake(farm)
    before = farm.result_files()
    done = farm.run(code=2)
    message = [line for line in done.stdout.splitlines() if line.startswith("cellfarm: ")]
    assert len(message) == 1, done.stdout
    for word in words:
        assert word in message[0]
    assert "Traceback" not in done.stdout
    assert farm.result_files() == before


def test_commands_say_what_is_wrong(farm: Farm) -> None:
    assert "the query failed" in farm.cellfarm("query", "SELECT nothing FROM nowhere", code=2)
    assert "needs --output" in farm.cellfarm("query", "FROM cells", "--format", "parquet", code=2)
    assert "cannot retry status 'ok'" in farm.cellfarm("retry", "--status", "ok", code=2)
    (farm.root / "results/cellfarm.duckdb").unlink()
    assert "no warehouse yet" in farm.cellfarm("query", "FROM cells", code=2)


def test_doctor_tells_what_it_finds(farm: Farm) -> None:
    text = farm.cellfarm("doctor")
    for word in ("snakemake", "onnxruntime@1.31.1.run", "Device host", "cores", "4 results"):
        assert word in text
    farm.configure(models=["gone"])
    assert "unknown model 'gone'" in farm.cellfarm("doctor", code=1)
