"""Drift of a device between experiments, and the file that records it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cellfarm.experiments import drift
from cellfarm.experiments.drift import (
    Calibration,
    append,
    baseline,
    departure,
    read,
    resting_c,
)
from hypothesis import given
from hypothesis import strategies as st


def record(name: str, *compute_ms: float, threads: int = 2, **changes) -> Calibration:
    fields = {
        "experiment": name,
        "at": "2026-01-01T00:00:00+00:00",
        "fingerprint": "f",
        "identity": "load 1",
        "compute_ms": {threads: list(compute_ms)},
        "memory_ms": {threads: [2 * value for value in compute_ms]},
        "temperatures_c": {"soc": 40.0},
    }
    return Calibration(**(fields | changes))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "devices" / "host.jsonl"
    assert read(path) == []
    records = [record("a", 1.0, 2.0), record("b", 3.0, threads=1)]
    for calibration in records:
        append(path, calibration)
    assert read(path) == records


def test_a_later_record_of_an_experiment_replaces_the_earlier(tmp_path):
    path = tmp_path / "host.jsonl"
    for calibration in (record("a", 1.0), record("b", 2.0), record("a", 3.0)):
        append(path, calibration)
    assert [(calibration.experiment, calibration.compute_ms[2]) for calibration in read(path)] == [
        ("b", [2.0]),
        ("a", [3.0]),
    ]


def test_torn_and_unknown_lines_are_passed_over(tmp_path):
    path = tmp_path / "host.jsonl"
    append(path, record("a", 1.0))
    content = path.read_bytes()
    damaged_lines = [b"", b"null", b"[1]", b'{"experiment": "x"}', b"\xff\xfe",
                     content.strip().replace(b"[1.0]", b"[-1.0]", 1),
                     content.strip().replace(b"[1.0]", b'["x"]', 1),
                     content.strip().replace(b"[1.0]", b"[NaN]", 1),
                     content.strip().replace(b'"2"', b'"two"', 1)]  # fmt: skip
    path.write_bytes(content + b"\n".join(damaged_lines) + b"\n" + content[: len(content) // 2])
    assert [calibration.experiment for calibration in read(path)] == ["a"]
    append(path, record("b", 2.0))
    assert [calibration.experiment for calibration in read(path)] == ["a", "b"]


@given(cut=st.integers(0, 400))
def test_wherever_the_last_line_was_torn_the_others_stay(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("drift") / "host.jsonl"
    append(path, record("a", 1.0))
    first_line = path.read_bytes()
    append(path, record("b", 2.0))
    content = path.read_bytes()
    path.write_bytes(content[: max(len(first_line), len(content) - cut)])
    append(path, record("c", 3.0))
    names = [calibration.experiment for calibration in read(path)]
    assert names in (["a", "b", "c"], ["a", "c"])


def test_a_newer_version_may_say_more(tmp_path):
    path = tmp_path / "host.jsonl"
    append(path, record("a", 1.0))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}) + "\n")
    assert read(path) == [record("a", 1.0)]


def test_the_baseline_is_the_median_of_medians():
    too_few = record("few", *[99.0] * (drift.LEAST_READINGS - 1))  # too few readings to count
    records = [
        record("a", *[10.0] * 5, 99.0), record("b", *[12.0] * 5), record("c", *[11.0] * 5), too_few,
    ]  # fmt: skip
    assert baseline(records, "load 1", "f", 2) == 11.0
    assert baseline(records, "load 1", "f", 2, excluding="a") == 11.5


@pytest.mark.parametrize(
    ("identity", "fingerprint", "threads"),
    [("load 2", "f", 2), ("load 1", "other", 2), ("load 1", "f", 1)],
)
def test_what_is_not_comparable_is_no_baseline(identity, fingerprint, threads):
    readings = [10.0] * drift.LEAST_READINGS
    assert baseline([record("a", *readings)], identity, fingerprint, threads) is None


def test_the_baseline_follows_a_device_that_changed_for_good():
    old = [record(f"old{number}", *[10.0] * 5) for number in range(30)]
    new = [record(f"new{number}", *[20.0] * 5) for number in range(drift.REMEMBERED)]
    assert baseline(old + new, "load 1", "f", 2) == 20.0


def test_the_first_experiment_departs_from_nothing():
    assert departure([1.0, 2.0], None, 0.05) is None
    assert departure([], 10.0, 0.05) is None


BASE = 10.0


@pytest.mark.parametrize(
    ("factor", "departs"), [(1.0, False), (1.03, False), (0.98, False), (1.2, True), (0.8, True)]
)
def test_a_departure_is_larger_than_the_tolerance(factor, departs):
    noise = np.random.default_rng(1).normal(1, 0.005, 12)
    result = departure(list(10 * factor * noise), BASE, 0.05)
    assert result.departs == departs
    assert result.low <= result.ratio <= result.high
    assert result.ratio == pytest.approx(factor, rel=0.01)
    assert set(result.as_dict()) == {"ratio", "low", "high", "departs"}


def test_what_is_too_uncertain_does_not_depart():
    result = departure([9.0, 15.0, 13.0], BASE, 0.05)
    assert result.ratio == pytest.approx(1.3) and not result.departs
    of_one_reading = departure([20.0], BASE, 0.05)
    assert (of_one_reading.low, of_one_reading.high, of_one_reading.departs) == (None, None, False)


@given(
    st.lists(st.floats(1, 100), min_size=2, max_size=12),
    st.floats(0.1, 10),
    st.floats(0.005, 0.2),
)
def test_a_departure_does_not_depend_on_the_unit(values, scale, tolerance):
    unscaled = departure(values, BASE, tolerance)
    scaled = departure([scale * value for value in values], scale * BASE, tolerance)
    assert math.isclose(unscaled.ratio, scaled.ratio, rel_tol=1e-9)
    assert math.isclose(unscaled.low, scaled.low, rel_tol=1e-6)


def test_temperatures_at_rest():
    records = [
        record(name, 1.0, temperatures_c={"soc": value, "skin": 30.0})
        for name, value in {"a": 40.0, "b": 44.0, "c": 41.0}.items()
    ]
    assert resting_c(records, "f") == {"soc": 41.0, "skin": 30.0}
    assert resting_c(records, "f", excluding="c") == {"soc": 42.0, "skin": 30.0}
    assert resting_c(records, "other") == {}
