"""From launches to a result: status, numbers, flags; and when a cell needs no further launch."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.experiments.summary import CONTENDED_CORES, is_finished, summarise, worst
from cellfarm.experiments.verification import Comparison

from tests.support.results import PROTOCOL, RIGHT, TOLERANCE, bad_launch, make_launch


def result_of(*launches: dict[str, Any], protocol: dict[str, Any] | None = None) -> dict[str, Any]:
    return summarise(launches, protocol or PROTOCOL, TOLERANCE, "key")


def test_good_launches_are_a_good_result():
    found = result_of(
        make_launch([10, 11, 12]),
        make_launch([12, 13, 14]),
        protocol={**PROTOCOL, "target_half_width": 0.1},
    )
    summary = found["summary"]
    assert (found["status"], found["reason"], found["flags"]) == ("ok", None, [])
    assert summary["latency_ms"] == 12.0
    assert summary["latency_ci_low_ms"] <= 12.0 <= summary["latency_ci_high_ms"]
    assert summary["latency_p90_ms"] == pytest.approx(13.5)
    assert (summary["launches"], summary["samples"]) == (2, 6)
    assert summary["stopped_because"] == "budget"
    assert (summary["cosine"], summary["top1_match"]) == (1.0, True)
    assert summary["peak_rss_mb"] == 120.5


def test_the_cold_start_is_the_median_of_each_phase_and_of_their_sum():
    phases = [
        {"start": 1.0, "import": 10.0, "load": 100.0, "first": 5.0},
        {"start": 3.0, "import": 10.0, "load": 100.0, "first": 5.0},
        {"start": 2.0, "import": 40.0, "load": 100.0, "first": 5.0},
    ]
    summary = result_of(*(make_launch(phases=one) for one in phases))["summary"]
    assert (summary["cold_start_ms"], summary["cold_import_ms"]) == (2.0, 10.0)
    assert summary["cold_total_ms"] == 118.0  # of 116, 118, 147


def test_what_is_not_known_is_none_and_never_zero():
    launch = make_launch(resources={"cpu_utilisation": None}, phases={"start": 1.0, "import": 2.0})
    summary = result_of(launch, launch)["summary"]
    for name in ("peak_rss_mb", "load_rss_mb", "cpu_utilisation", "other_cpu_utilisation",
                 "cold_load_ms", "cold_first_ms", "cold_total_ms"):  # fmt: skip
        assert summary[name] is None, name
    assert summary["cold_import_ms"] == 2.0


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_one_bad_launch_leaves_no_latency(status: str):
    found = result_of(make_launch(), make_launch(), bad_launch(status, "no end within 60 s"))
    assert (found["status"], found["summary"]) == (status, {})
    assert found["reason"] == "no end within 60 s (launch 3, after 2 good ones)"
    assert found["log"] == "Segmentation fault\n"


def test_a_first_bad_launch_has_its_reason_alone():
    assert result_of(bad_launch(reason="because"))["reason"] == "because"


def test_one_wrong_launch_makes_a_cell_wrong_but_keeps_its_latency():
    wrong = Comparison(0.41, 7.3, 1.2, False)
    found = result_of(make_launch(), make_launch(comparison=wrong.as_dict()), make_launch())
    assert found["status"] == "wrong" and "cosine 0.41" in found["reason"]
    assert found["summary"]["latency_ms"] == 10.0
    assert found["summary"]["max_abs_error"] == 7.3
    assert found["summary"]["top1_match"] is False


def test_an_output_that_was_not_compared_is_wrong():
    for missing in ({"comparison": None}, {"comparison": {}}):
        found = result_of(make_launch(), make_launch(**missing))
        assert (found["status"], found["reason"]) == ("wrong", "the output was not compared")
    launch = make_launch()
    del launch["comparison"]
    assert result_of(make_launch(), launch)["status"] == "wrong"


def test_a_problem_is_told_as_it_is():
    problem = Comparison(problem="the output 'logits' is constant")
    found = result_of(make_launch(comparison=problem.as_dict()))
    assert (found["status"], found["reason"]) == ("wrong", problem.problem)
    assert found["summary"]["cosine"] is None


def test_the_worst_comparison_takes_each_measure_apart():
    one, other = Comparison(0.9, 0.1, 0.5, True), Comparison(0.99, 0.3, 0.2, None)
    launches = [make_launch(comparison=each.as_dict()) for each in (one, other)]
    assert worst(launches) == Comparison(0.9, 0.3, 0.5, True)
    assert worst([make_launch(comparison=other.as_dict())]).top1_match is None


def test_agreeing_launches_are_precise_and_not_flagged():
    found = result_of(*[make_launch([10.0, 10.0, 10.0])] * 3)
    assert found["flags"] == [] and found["summary"]["stopped_because"] == "precise"


def test_launches_that_disagree_far_beyond_the_target_are_noisy():
    def spread(ratio: float) -> list[str]:
        return result_of(make_launch([10.0] * 3), make_launch([10.0 * ratio] * 3))["flags"]

    # The half width is (ratio - 1) / (ratio + 1); the limit is 3 times the target of 0.05.
    assert spread(1.3) == []
    assert spread(1.4) == ["noisy"]


def contended(cores: float | None) -> dict[str, Any]:
    return make_launch([10.0] * 3, resources={"other_cpu_utilisation": cores})


def test_others_at_work_flag_a_cell_as_contended():
    busy, calm = CONTENDED_CORES + 0.1, CONTENDED_CORES - 0.1
    assert "contended" in result_of(*map(contended, (busy, busy, calm)))["flags"]
    assert "contended" not in result_of(*map(contended, (busy, calm, calm)))["flags"]
    assert "contended" not in result_of(contended(None), contended(None))["flags"]


def test_a_cell_is_finished_when_it_is_precise_failed_or_out_of_budget():
    def same(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0] * 3)] * count

    def apart(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0 + 5 * (n % 2)] * 3) for n in range(count)]

    protocol = PROTOCOL | {"launches": {"min": 3, "max": 5}}
    finished = {count: is_finished(same(count), protocol, "k") for count in range(4)}
    assert finished == {0: False, 1: False, 2: False, 3: True}
    assert {count: is_finished(apart(count), protocol, "k") for count in (3, 4, 5, 6)} == {
        3: False, 4: False, 5: True, 6: True,
    }  # fmt: skip
    assert is_finished([bad_launch()], protocol, "k")
    assert is_finished([make_launch(), bad_launch("timeout")], protocol, "k")


def test_the_same_launches_give_the_same_result():
    launches = [make_launch([10 + 0.1 * n, 11, 12]) for n in range(5)]
    assert result_of(*launches) == result_of(*launches)


def test_a_right_comparison_is_no_violation():
    assert RIGHT.violation(TOLERANCE) is None
