"""Two sides of the same cells: which verdict, and why not."""

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


def cell(version: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "key": f"key-{version}", "model": "resnet50", "library": "ncnn",
        "library_version": version, "variant": "fp32", "device": "host", "processor": "cpu",
        "threads": 1, "protocol": "standard", "status": "ok", "reason": None, "latency_ms": 10.0,
        "latency_ci_low_ms": 9.0, "latency_ci_high_ms": 11.0, "emulated": False, "flags": [],
        "experiment": "run/host/resnet50", "measured_at": WHEN, "causes": CAUSES,
    } | more  # fmt: skip


def side(
    name: str, *rows: dict[str, Any], ms: float = 10.0, spread: float = 0.002,
    warehouse: Path = HERE, launches: int = 10, seed: int = 0, calibration_ms: float = 1.0,
) -> Side:  # fmt: skip
    """Launches of about `ms` in the same rounds; what disturbs a round disturbs it on every side."""
    shared, own = random.Random("rounds"), random.Random(f"{name}/{seed}")
    rounds = {}
    for number in range(launches):
        common = 1 + 0.2 * shared.random()
        rounds[number] = [ms * common * (1 + spread * own.uniform(-1, 1)) for _ in range(5)]
    taken = {
        row["key"]: Measured(row["experiment"], rounds, [calibration_ms] * launches) for row in rows
    }
    return Side(name, warehouse, list(rows), taken)


def verdict(first: Side, second: Side, threshold: float = 0.05, flagged: bool = False):
    (found,) = compare_sides(first, second, threshold, flagged).verdicts
    return found


def test_the_same_rounds_tell_a_slowdown_that_hides_in_either_spread():
    """Rounds vary by 20 %, both sides alike; the second takes 4 % longer."""
    found = verdict(side("a", cell("1")), side("b", cell("2"), ms=10.4))
    assert (found.verdict, found.is_paired) == (SLOWER, True)
    assert found.ratio == pytest.approx(1.04, abs=0.005)
    assert found.is_regression(0.03) and not found.is_regression(0.05)
    assert verdict(side("a", cell("1")), side("b", cell("2"), ms=9.6)).verdict == FASTER
    assert verdict(side("a", cell("1")), side("b", cell("2"), ms=10.0)).verdict == SAME


def test_across_stores_experiments_of_one_name_are_two():
    found = verdict(side("a", cell("1")), side("b", cell("2"), ms=10.4, warehouse=THERE))
    assert found.is_paired is False
    # 20 % of spread that is not shared: nothing can be said of 4 %.
    assert found.verdict == NOT_COMPARABLE and "too wide to tell 5 %" in found.reason
    assert (
        verdict(side("a", cell("1")), side("b", cell("2"), ms=20, warehouse=THERE)).verdict
        == SLOWER
    )


def test_a_device_that_was_slower_that_day_is_no_slower_library():
    other = side("b", cell("2", experiment="later/host/resnet50"), ms=15.0, calibration_ms=1.5)
    found = verdict(side("a", cell("1")), other, threshold=0.2)
    assert (found.verdict, found.is_paired) == (SAME, False)


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
    found = verdict(side("a", cell("1")), side("b", cell("2", **changes), ms=99))
    assert found.verdict == NOT_COMPARABLE and reason in found.reason
    assert not found.is_regression(0)


def test_flags_that_doubt_something_else_and_flagged_on_demand():
    doubtful = side("b", cell("2", flags=["contended"]), ms=12)
    assert verdict(side("a", cell("1")), doubtful, flagged=True).verdict == SLOWER
    profile = side("b", cell("2", flags=["operators_gap"]), ms=12)
    assert verdict(side("a", cell("1")), profile).verdict == SLOWER


def test_one_launch_tells_nothing():
    found = verdict(side("a", cell("1"), launches=1), side("b", cell("2"), ms=99, launches=1))
    assert found.verdict == NOT_COMPARABLE and "too few launches" in found.reason


def test_a_result_is_not_compared_with_itself():
    found = verdict(side("a", cell("1")), side("a", cell("1")))
    assert found.reason == "the same result on both sides"
    copy = verdict(side("a", cell("1")), side("b", cell("1"), warehouse=THERE))
    assert copy.reason == "the same result on both sides"
    later = cell("1", measured_at=WHEN + datetime.timedelta(days=1))
    assert verdict(side("a", cell("1")), side("b", later, warehouse=THERE)).reason is None


def test_several_versions_on_a_side_are_cells_of_their_own():
    rows = [cell("1"), cell("2", key="two")]
    found = compare_sides(side("a", *rows), side("b", *rows, warehouse=THERE), 0.5)
    assert [one.cell["versions"] for one in found.verdicts] == [["1", "1"], ["2", "2"]]
    found = compare_sides(side("a", *rows), side("b", cell("3"), warehouse=THERE), 0.5)
    assert not found.verdicts and len(found.only_first) == 2 and len(found.only_second) == 1


@given(st.floats(1, 100), st.floats(0.5, 2.0), st.integers(0, 5))
def test_the_other_way_round_is_the_inverse(ms, factor, seed):
    one, two = (
        side("a", cell("1"), ms=ms, seed=seed),
        side("b", cell("2"), ms=ms * factor, seed=seed),
    )
    there, back = verdict(one, two), verdict(two, one)
    assert there.ratio * back.ratio == pytest.approx(1)
    opposite = {SLOWER: FASTER, FASTER: SLOWER}
    assert back.verdict in (opposite.get(there.verdict, there.verdict), NOT_COMPARABLE, SAME)


@pytest.mark.parametrize("status", ["failed", "wrong", "timeout", "unsupported"])
def test_what_ran_before_and_does_not_now_is_broken(status):
    there = side("b", cell("2", status=status, reason="no kernel", latency_ms=None))
    found = compare_sides(side("a", cell("1")), there, 0.05)
    assert (found.verdicts[0].verdict, len(found.regressions)) == (BROKEN, 1)
    assert found.verdicts[0].reason == f"{status} in b: no kernel"
    assert summary(found) == "1 broken; 1 regression (broken, or slower by more than 5 %)"
    back = verdict(there, side("a", cell("1")))
    assert (back.verdict, back.is_regression(0.05)) == (NOT_COMPARABLE, False)


def test_another_model_that_fails_is_not_broken():
    there = side("b", cell("2", status="failed", causes=CAUSES | {"model": "other"}))
    assert verdict(side("a", cell("1")), there).verdict == NOT_COMPARABLE


def test_what_has_no_result_is_told():
    mine = replace(side("a", cell("1")), missing=3)
    found = compare_sides(mine, side("b", cell("2")), 0.05)
    assert "a: 3 of its cells have no result." in as_markdown(found)
    assert json.loads(as_json(found))["missing"] == {"a": 3}


def test_texts_of_it():
    found = compare_sides(
        side("a", cell("1"), cell("1", key="k2", model="x|`y`", status="failed", reason="<b>[1]")),
        side("b", cell("2"), cell("2", key="k3", model="x|`y`"), ms=11),
        0.05,
    )
    assert summary(found) == "1 slower, 1 not comparable; 1 regression of more than 5 %"
    document = json.loads(as_json(found))
    assert (document["regressions"], document["counts"]["slower"]) == (1, 1)
    assert document["cells"][0]["versions"] == ["1", "2"]
    text = as_markdown(found)
    assert "**slower**" in text and "\\<b>" in text and "x\\|\\`y\\`" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
