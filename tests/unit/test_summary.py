"""From launches to a result: status, numbers, flags; and when a cell needs no further launch."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.measures.flags import CONTENDED_CORES
from cellfarm.measures.quality.heldout import Quality
from cellfarm.experiments.summary import Terms, closing_modes, is_finished, summarise, worst
from cellfarm.measures.quality.verification import Comparison

from tests.support.results import PROTOCOL, RIGHT, TOLERANCE, bad_launch, make_launch


def result_of(*launches: dict[str, Any], protocol: dict[str, Any] | None = None) -> dict[str, Any]:
    return summarise(launches, Terms(protocol or PROTOCOL, TOLERANCE), "key")


def test_good_launches_are_a_good_result():
    found = result_of(
        *[make_launch([10, 11, 12]), make_launch([12, 13, 14])] * 3,
        protocol={**PROTOCOL, "target_half_width": 0.2},
    )
    summary = found["summary"]
    assert (found["status"], found["reason"], found["flags"]) == ("ok", None, [])
    assert summary["latency_ms"] == 12.0
    assert summary["latency_ci_low_ms"] <= 12.0 <= summary["latency_ci_high_ms"]
    assert summary["latency_p90_ms"] == pytest.approx(14.0)
    assert (summary["launches"], summary["samples"]) == (6, 18)
    assert summary["stopped_because"] == "precise"
    assert (summary["cosine"], summary["top1_match"]) == (1.0, True)
    assert summary["peak_rss_mb"] == 120.5


def test_the_cold_start_is_the_median_of_each_phase_and_of_their_sum():
    phases = [
        {"start": 1.0, "import": 8.0, "read": 2.0, "load": 100.0, "first": 5.0},
        {"start": 3.0, "import": 8.0, "read": 2.0, "load": 100.0, "first": 5.0},
        {"start": 2.0, "import": 38.0, "read": 2.0, "load": 100.0, "first": 5.0},
    ]
    summary = result_of(*(make_launch(phases=one) for one in phases))["summary"]
    assert (summary["cold_start_ms"], summary["cold_import_ms"]) == (2.0, 8.0)
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


def test_launches_that_disagree_beyond_the_target_are_noisy():
    def spread(ratio: float) -> list[str]:
        pair = [make_launch([10.0] * 3), make_launch([10.0 * ratio] * 3)]
        return result_of(*pair * 3)["flags"]

    # The half width is (ratio - 1) / (ratio + 1); the target is 0.05.
    assert spread(1.1) == []
    assert spread(1.12) == ["noisy"]


def contended(cores: float | None) -> dict[str, Any]:
    return make_launch([10.0] * 3, resources={"other_cpu_utilisation": cores})


def test_others_at_work_flag_a_cell_as_contended():
    busy, calm = CONTENDED_CORES + 0.1, CONTENDED_CORES - 0.1
    assert "contended" in result_of(*map(contended, (busy, calm, calm)))["flags"]
    assert "contended" not in result_of(*map(contended, (busy, *[calm] * 3)))["flags"]
    strict = PROTOCOL | {"gates": PROTOCOL["gates"] | {"other_cpu_cores": calm / 2}}
    assert "contended" in result_of(contended(calm), contended(calm), protocol=strict)["flags"]
    assert "contended" not in result_of(contended(None), contended(None))["flags"]


def test_a_cell_is_finished_when_it_is_precise_failed_or_out_of_budget():
    def same(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0] * 2)] * count

    def apart(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0 + 5 * (n % 2)] * 3) for n in range(count)]

    protocol = PROTOCOL | {"launches": {"min": 3, "max": 5}}
    finished = {count: is_finished(same(count), protocol, "k") for count in range(4)}
    assert finished == {0: False, 1: False, 2: False, 3: False}, "one look is not enough"
    assert is_finished(same(4), protocol, "k"), "narrow on two looks in a row"
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


def test_what_cannot_be_is_a_failure_with_its_reason():
    terms = Terms(PROTOCOL, TOLERANCE, fastest_ms=11.0)
    found = summarise([make_launch()] * 3, terms, "key")
    assert found["status"] == "failed" and "at the processor's peak" in found["reason"]
    found = result_of(*[make_launch([10.0] * 4)] * 3)
    assert found["status"] == "failed" and "the same to the last digit" in found["reason"]


def cold_launch(total_ms: float) -> dict[str, Any]:
    phases = {"start": 1.0, "import": 2.0, "read": total_ms - 10.0, "load": 3.0, "first": 4.0}
    launch = make_launch(mode="cold", phases=phases, page_cache_share=0.0)
    for name in ("warm_ms", "warmup_ms", "steady"):
        del launch[name]
    return launch


def test_cold_page_caches_have_figures_of_their_own():
    cold = [cold_launch(total) for total in (50.0, 60.0, 70.0)]
    summary = result_of(*[make_launch()] * 3, *cold)["summary"]
    assert (summary["launches"], summary["cold_total_ms"]) == (3, 110.0)
    assert (summary["cold_cache_total_ms"], summary["cold_cache_read_ms"]) == (60.0, 50.0)
    assert summary["cold_cache_total_ci_low_ms"] < 60.0 < summary["cold_cache_total_ci_high_ms"]
    assert summary["page_cache_share"] == 0.0
    assert summary["steady_after_ms"] == 121.0, "the warm-up comes on top"


def test_a_bad_cold_launch_is_a_bad_launch_and_cold_launches_are_waited_for():
    bad = bad_launch() | {"mode": "cold"}
    assert result_of(make_launch(), bad)["status"] == "failed"
    protocol = PROTOCOL | {"cold_cache": {"launches": 2}, "launches": {"min": 2, "max": 2}}
    taken = [make_launch(), make_launch(), cold_launch(50.0)]
    assert not is_finished(taken, protocol, "k")
    assert is_finished([*taken, cold_launch(50.0)], protocol, "k")


def profile_launch(sum_ms: float) -> dict[str, Any]:
    return make_launch(mode="profile", profile={"operators": [], "sum_ms": sum_ms}) | {"gate": None}


def test_the_operators_sum_is_held_against_the_latency():
    def gap(sum_ms: float) -> tuple[float, bool]:
        found = result_of(*[make_launch()] * 3, profile_launch(sum_ms))
        return found["summary"]["operators_gap"], "operators_gap" in found["flags"]

    assert gap(10.0) == (0.0, False)
    assert gap(11.4) == (pytest.approx(0.14), False)
    assert gap(11.6) == (pytest.approx(0.16), True)
    assert gap(8.0) == (pytest.approx(-0.2), True)


def test_a_profile_that_failed_leaves_the_latency():
    failed = bad_launch(reason="in phase profile: RuntimeError: no") | {"mode": "profile"}
    found = result_of(*[make_launch()] * 3, failed)
    assert found["status"] == "ok" and found["summary"]["latency_ms"] == 10.0
    assert found["summary"]["operators_reason"] == "in phase profile: RuntimeError: no"
    assert found["summary"]["operators_gap"] is None


def test_memory_of_loading_and_of_inference_are_told_apart():
    summary = result_of(*[make_launch()] * 2)["summary"]
    assert (summary["peak_load_rss_mb"], summary["peak_inference_rss_mb"]) == (100.0, 120.5)
    kept = make_launch()["resources"] | {"peak_was_reset": 0.0}
    summary = result_of(*[make_launch(resources=kept)] * 2)["summary"]
    assert summary["peak_inference_rss_mb"] is None, "the mark could not be put back"
    assert summary["peak_rss_mb"] == 120.5


def test_continuous_load_has_its_throughput():
    protocol = PROTOCOL | {"pattern": {"kind": "sustained", "window_s": 1.0}}
    samples = [10.0] * 1000 + [20.0] * 500
    summary = result_of(*[make_launch(samples, warmup_ms=[])] * 2, protocol=protocol)["summary"]
    assert summary["throughput_burst_per_s"] == pytest.approx(100.0)
    assert summary["throughput_ratio"] == pytest.approx(0.5, rel=0.02)
    assert summary["settled_after_s"] == 10.0


def test_a_disturbed_cold_start_is_told_and_the_latency_ranks():
    cold = cold_launch(50.0) | {"gate": {"exceeded": ["load"]}}
    assert result_of(*[make_launch()] * 3, cold)["flags"].count("cold_disturbed") == 1
    assert "contended" not in result_of(*[make_launch()] * 3, cold)["flags"]


def test_every_phase_of_the_start_has_an_interval():
    cold = [cold_launch(total) for total in (50.0, 60.0, 70.0)]
    rows = result_of(*[make_launch()] * 3, *cold)["summary"]["cold_phases"]
    named = {(row["page_cache"], row["phase"]): row for row in rows}
    phases = {"start", "import", "read", "load", "first", "total"}
    assert set(named) == {("cold", one) for one in phases} | {
        ("warm", one) for one in phases | {"steady"}
    }
    read = named["cold", "read"]
    assert (read["ms"], read["launches"]) == (50.0, 3) and read["low_ms"] < 50 < read["high_ms"]


def quality_launch(quality: Quality, **changes: Any) -> dict[str, Any]:
    launch = make_launch([], mode="quality", warmup_ms=[], quality=quality.as_dict(), **changes)
    del launch["comparison"]
    return launch


def test_the_quality_on_held_out_inputs_stands_in_the_result():
    found = result_of(make_launch(), make_launch(), quality_launch(Quality(16, 0.9999, 14.2, 0.75)))
    assert found["status"] == "ok" and found["summary"]["launches"] == 2
    named = {
        "heldout_samples": 16,
        "heldout_cosine": 0.9999,
        "sqnr_db": 14.2,
        "top1_agreement": 0.75,
    }
    assert {name: found["summary"][name] for name in named} == named


def test_without_a_quality_launch_nothing_is_known_of_it():
    summary = result_of(make_launch(), make_launch())["summary"]
    assert summary["sqnr_db"] is None and summary["heldout_samples"] is None


def test_a_bad_quality_makes_a_cell_wrong_but_keeps_its_latency():
    bad = Quality(16, 0.3, 0.4, 0.0)
    found = result_of(make_launch(), make_launch(), quality_launch(bad))
    assert found["status"] == "wrong" and "held-out inputs: cosine 0.3" in found["reason"]
    assert found["summary"]["latency_ms"] == 10.0


def test_an_emulated_cell_has_a_verdict_and_no_latency():
    launch = make_launch([], warmup_ms=[], emulated=True)
    assert is_finished([launch], PROTOCOL, "key")
    assert closing_modes([launch], PROTOCOL | {"profile": {"runs": 5}}) == ["quality"]
    found = result_of(launch, quality_launch(Quality(16, 0.9999, 14.2, 0.75), emulated=False))
    assert (found["status"], found["flags"]) == ("ok", [])
    assert found["summary"]["latency_ms"] is None and found["summary"]["sqnr_db"] == 14.2
    wrong = Comparison(0.41, 7.3, 1.2, False).as_dict()
    assert result_of(launch | {"comparison": wrong})["status"] == "wrong"
