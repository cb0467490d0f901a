"""Protocols list measures, whose settings are checked. A mistake is reported in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cellfarm.base.errors import UserError
from cellfarm.measures import all_measures
from cellfarm.wanted.protocols import Protocol, read_protocol

from tests.support.projects import REPOSITORY, write_yaml
from tests.support.protocols import SMALLEST, with_measures

LATENCY = SMALLEST["measures"]["latency"]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "mine.yaml"


def read(path: Path, document: dict[str, Any]) -> Protocol:
    return read_protocol(write_yaml(path, document))


def refusal(path: Path, document: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        read(path, document)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "config/protocols").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_protocols_of_this_repository_are_valid(file: Path):
    protocol = read_protocol(file)
    assert sum(name in protocol.measures for name in ("latency", "sustained", "spaced")) == 1
    assert "cold_start" in protocol.measures


def test_measures_come_in_their_order_with_all_their_settings(path):
    document = with_measures(quality=None, accuracy=None, cold_start=None)
    document["measures"] = {"quality": {"samples": 4}, **document["measures"]}
    protocol = read(path, document)
    assert list(protocol.measures) == ["latency", "quality"]
    assert protocol.measures["quality"] == {"samples": 4}
    assert protocol.common() == {name: SMALLEST[name] for name in SMALLEST if name != "measures"}


@pytest.mark.parametrize("settings", [None, {}])
def test_a_measure_that_is_listed_without_settings_has_its_own(path, settings):
    document = with_measures()
    document["measures"] = {"latency": settings, "quality": settings}
    protocol = read(path, document)
    for name in ("latency", "quality"):
        assert protocol.measures[name] == all_measures()[name].defaults


def test_every_measure_can_be_listed_without_settings(path):
    for name in all_measures():
        document = SMALLEST | {"measures": {name: None}, "launch_timeout_s": 900}
        assert name in read(path, document).measures


@pytest.mark.parametrize(
    ("key", "value", "new_place"),
    [
        ("pattern", {"kind": "back_to_back"}, "measures.latency"),
        ("launches", {"min": 3, "max": 12}, "measures.latency.launches"),
        ("target_half_width", 0.05, "measures.latency.target_half_width"),
        ("samples", {"min": 30, "max": 500, "seconds": 1}, "measures.latency.samples"),
        ("cold_cache", {"launches": 3}, "measures.cold_start.launches"),
        ("quality", {"samples": 16}, "measures.quality"),
        ("profile", {"runs": 10}, "measures.operators"),
    ],
)
def test_a_key_of_earlier_versions_says_where_it_stands_now(path, key, value, new_place):
    message = refusal(path, SMALLEST | {key: value})
    assert message.startswith(f"key '{key}': ") and new_place in message


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ({"latencey": {}}, "key 'measures': unknown measure 'latencey' (did you mean 'latency'?)"),
        ({}, "key 'measures': expected"),
        ([], "key 'measures': expected a mapping"),
        ({"quality": 3}, "key 'measures.quality': expected a mapping"),
        ({"quality": {"samples": 0}},
         "key 'measures.quality.samples': expected a whole number from 1: held-out inputs that are "
         "compared with the reference; found 0"),
        ({"operators": {"runs": 1001}}, "key 'measures.operators.runs': expected a whole number from 1"),
        ({"cold_start": {"launches": -1}}, "key 'measures.cold_start.launches': expected a whole number"),
        ({"quality": {"sampels": 3}},
         "key 'measures.quality': unknown key 'sampels' (did you mean 'samples'?)"),
        ({"accuracy": {"samples": 3}}, "key 'measures.accuracy': unknown key 'samples'"),
        ({"latency": LATENCY | {"launches": {"min": 1, "max": 2}}},
         "key 'measures.latency.launches.min': expected a whole number from 2; found 1"),
        ({"latency": LATENCY | {"launches": {"min": 2}}},
         "key 'measures.latency.launches': the key 'max' is missing"),
        ({"latency": LATENCY | {"launches": {"min": 9, "max": 8}}},
         "key 'measures.latency.launches': max is smaller than min"),
        ({"latency": LATENCY | {"target_half_width": 0}},
         "key 'measures.latency.target_half_width': expected a number above 0, at most 1"),
        ({"latency": LATENCY | {"samples": {"min": 3, "max": 3, "seconds": 60}}},
         "key 'measures.latency.samples': they take 60 s at least, and a launch is killed after "
         "launch_timeout_s: 60"),
        ({"spaced": LATENCY | {"interval_ms": 20_000}},
         "key 'measures.spaced.samples': they take 60 s at least"),
        ({"spaced": LATENCY | {"interval_ms": 0.5}},
         "key 'measures.spaced.interval_ms': expected a number of milliseconds from 1"),
        ({"sustained": LATENCY | {"window_s": 5}},
         "key 'measures.sustained.window_s': samples.seconds must hold 4 windows"),
        ({"latency": None, "spaced": None}, "'latency' and 'spaced' both fill latency_ms: take one"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_name_the_whole_key_and_what_was_expected(path, measures: Any, message: str):
    assert message in refusal(path, SMALLEST | {"measures": measures, "launch_timeout_s": 60})


def test_what_all_measures_have_in_common_is_checked_too(path):
    assert refusal(path, SMALLEST | {"seed": -1}).startswith("key 'seed'")
    assert "governor" in refusal(path, SMALLEST | {"governor": "Fast; rm"})
    without_gates = {name: value for name, value in SMALLEST.items() if name != "gates"}
    assert "the key 'gates' is missing" in refusal(path, without_gates)
    path.write_text(yaml.safe_dump(["a list"]))
    with pytest.raises(UserError, match="expected a mapping"):
        read_protocol(path)
