"""The same cells on two sides: the verdict, or the reason for having none."""

from __future__ import annotations

import datetime
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cellfarm.comparison.sides import Side
from cellfarm.comparison.verdicts import BROKEN, FASTER, NOT_COMPARABLE, SAME, SLOWER, compare_sides
from cellfarm.comparison.writing import as_json, as_markdown, summary
from cellfarm.warehouse.stored_ratios import Measured
from hypothesis import given
from hypothesis import strategies as st

HERE, THERE = Path("/a/cellfarm.duckdb"), Path("/b/cellfarm.duckdb")
CAUSES = {"model": "m", "device": "d", "protocol": "p", "runner": "r"}
WHEN = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def cell(version: str = "1", **fields: Any) -> dict[str, Any]:
    return {
        "key": f"key-{version}", "model": "resnet50", "library": "ncnn",
        "library_version": version, "variant": "fp32", "device": "host", "processor": "cpu",
        "threads": 1, "protocol": "standard", "status": "ok", "reason": None, "latency_ms": 10.0,
        "latency_ci_low_ms": 9.0, "latency_ci_high_ms": 11.0, "emulated": False, "flags": [],
        "experiment": "run/host/resnet50", "measured_at": WHEN, "causes": CAUSES,
    } | fields  # fmt: skip


def side(
    name: str, *rows: dict[str, Any], ms: float = 10.0, spread: float = 0.002,
    warehouse: Path = HERE, launches: int = 10, seed: int = 0, calibration_ms: float = 1.0,
) -> Side:  # fmt: skip
    """Launches of about `ms` in the same rounds; a disturbed round is disturbed on every side."""
    shared_random, own_random = random.Random("rounds"), random.Random(f"{name}/{seed}")
    rounds = {}
    for number in range(launches):
        disturbance = 1 + 0.2 * shared_random.random()
        rounds[number] = [
            ms * disturbance * (1 + spread * own_random.uniform(-1, 1)) for _ in range(5)
        ]
    measured = {
        row["key"]: Measured(row["experiment"], rounds, [calibration_ms] * launches) for row in rows
    }
    return Side(name, warehouse, list(rows), measured)


def verdict(first: Side, second: Side, threshold: float = 0.05, flagged: bool = False):
    (cell_verdict,) = compare_sides(first, second, threshold, flagged).verdicts
    return cell_verdict


def test_the_same_rounds_tell_a_slowdown_that_hides_in_either_spread():
    """Rounds vary by 20 %, alike on both sides; the second side takes 4 % longer."""
    result = verdict(side("a", cell("1")), side("b", cell("2"), ms=10.4))
    assert (result.verdict, result.is_paired) == (SLOWER, True)
    assert result.ratio == pytest.approx(1.04, abs=0.005)
    assert result.is_regression(0.03) and not result.is_regression(0.05)
    assert verdict(side("a", cell("1")), side("b", cell("2"), ms=9.6)).verdict == FASTER
    assert verdict(side("a", cell("1")), side("b", cell("2"), ms=10.0)).verdict == SAME


def test_experiments_of_one_name_in_two_stores_are_not_paired():
    result = verdict(side("a", cell("1")), side("b", cell("2"), ms=10.4, warehouse=THERE))
    assert result.is_paired is False
    # The sides do not share the spread of 20 %, so that 4 % cannot be detected.
    assert result.verdict == NOT_COMPARABLE and "too wide to tell 5 %" in result.reason
    assert (
        verdict(side("a", cell("1")), side("b", cell("2"), ms=20, warehouse=THERE)).verdict
        == SLOWER
    )


def test_a_device_that_was_slower_that_day_is_no_slower_library():
    second = side("b", cell("2", experiment="later/host/resnet50"), ms=15.0, calibration_ms=1.5)
    result = verdict(side("a", cell("1")), second, threshold=0.2)
    assert (result.verdict, result.is_paired) == (SAME, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"emulated": True}, "emulated in b"),
        ({"latency_ms": None}, "no latency in b"),
        ({"flags": ["contended", "operators_gap"]}, "flagged in b: contended"),
        ({"causes": CAUSES | {"device": "x"}}, "the device"),
        ({"causes": CAUSES | {"protocol": "x"}}, "the protocol changed"),
        ({"causes": CAUSES | {"runner": "x"}}, "the runner's code changed"),
        ({"causes": {}}, "the model changed"),
    ],
)
def test_what_is_not_comparable_says_why(changes, reason):
    result = verdict(side("a", cell("1")), side("b", cell("2", **changes), ms=99))
    assert result.verdict == NOT_COMPARABLE and reason in result.reason
    assert not result.is_regression(0)


def test_flags_of_other_numbers_do_not_matter_and_flagged_cells_count_on_demand():
    doubtful = side("b", cell("2", flags=["contended"]), ms=12)
    assert verdict(side("a", cell("1")), doubtful, flagged=True).verdict == SLOWER
    profile = side("b", cell("2", flags=["operators_gap"]), ms=12)
    assert verdict(side("a", cell("1")), profile).verdict == SLOWER


def test_one_launch_tells_nothing():
    result = verdict(side("a", cell("1"), launches=1), side("b", cell("2"), ms=99, launches=1))
    assert result.verdict == NOT_COMPARABLE and "too few launches" in result.reason


def test_a_result_is_not_compared_with_itself():
    result = verdict(side("a", cell("1")), side("a", cell("1")))
    assert result.reason == "the same result on both sides"
    copy = verdict(side("a", cell("1")), side("b", cell("1"), warehouse=THERE))
    assert copy.reason == "the same result on both sides"
    later = cell("1", measured_at=WHEN + datetime.timedelta(days=1))
    assert verdict(side("a", cell("1")), side("b", later, warehouse=THERE)).reason is None


def test_several_versions_on_a_side_are_cells_of_their_own():
    rows = [cell("1"), cell("2", key="two")]
    comparison = compare_sides(side("a", *rows), side("b", *rows, warehouse=THERE), 0.5)
    assert [row.cell["versions"] for row in comparison.verdicts] == [["1", "1"], ["2", "2"]]
    comparison = compare_sides(side("a", *rows), side("b", cell("3"), warehouse=THERE), 0.5)
    assert (
        not comparison.verdicts
        and len(comparison.only_first) == 2
        and len(comparison.only_second) == 1
    )


@given(st.floats(1, 100), st.floats(0.5, 2.0), st.integers(0, 5))
def test_exchanged_sides_have_the_inverse_ratio(ms, factor, seed):
    first, second = (
        side("a", cell("1"), ms=ms, seed=seed),
        side("b", cell("2"), ms=ms * factor, seed=seed),
    )
    forward, backward = verdict(first, second), verdict(second, first)
    assert forward.ratio * backward.ratio == pytest.approx(1)
    opposite = {SLOWER: FASTER, FASTER: SLOWER}
    assert backward.verdict in (
        opposite.get(forward.verdict, forward.verdict),
        NOT_COMPARABLE,
        SAME,
    )


@pytest.mark.parametrize("status", ["failed", "wrong", "timeout", "unsupported"])
def test_what_ran_before_and_does_not_now_is_broken(status):
    second = side("b", cell("2", status=status, reason="no kernel", latency_ms=None))
    comparison = compare_sides(side("a", cell("1")), second, 0.05)
    assert (comparison.verdicts[0].verdict, len(comparison.regressions)) == (BROKEN, 1)
    assert comparison.verdicts[0].reason == f"{status} in b: no kernel"
    assert summary(comparison) == "1 broken; 1 regression (broken, or slower by more than 5 %)"
    backward = verdict(second, side("a", cell("1")))
    assert (backward.verdict, backward.is_regression(0.05)) == (NOT_COMPARABLE, False)


def test_another_model_that_fails_is_not_broken():
    second = side("b", cell("2", status="failed", causes=CAUSES | {"model": "other"}))
    assert verdict(side("a", cell("1")), second).verdict == NOT_COMPARABLE


def test_what_has_no_result_is_told():
    first = replace(side("a", cell("1")), missing=3)
    comparison = compare_sides(first, side("b", cell("2")), 0.05)
    assert "a: 3 of its cells have no result." in as_markdown(comparison)
    assert json.loads(as_json(comparison))["missing"] == {"a": 3}


def test_texts_of_a_comparison():
    comparison = compare_sides(
        side("a", cell("1"), cell("1", key="k2", model="x|`y`", status="failed", reason="<b>[1]")),
        side("b", cell("2"), cell("2", key="k3", model="x|`y`"), ms=11),
        0.05,
    )
    assert summary(comparison) == "1 slower, 1 not comparable; 1 regression of more than 5 %"
    document = json.loads(as_json(comparison))
    assert (document["regressions"], document["counts"]["slower"]) == (1, 1)
    assert document["cells"][0]["versions"] == ["1", "2"]
    text = as_markdown(comparison)
    assert "**slower**" in text and "\\<b>" in text and "x\\|\\`y\\`" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
