"""From launches to the results of measures: status, numbers, flags; and when no further launch is needed."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.experiments.summarising import Result, summarise
from cellfarm.measures import all_measures
from cellfarm.measures.flags import CONTENDED_CORES
from cellfarm.measures.hosts import Context, host_of
from cellfarm.measures.launches import is_emulated, worst_comparison
from cellfarm.measures.quality.comparison import Comparison, Quality

from tests.support.protocols import with_measures
from tests.support.results import (
    PROTOCOL,
    RIGHT,
    TOLERANCE,
    bad_launch,
    make_launch,
    quality_launch,
)

Document = dict[str, Any]


def result_of(
    measure: str, *launches: dict[str, Any], protocol: Document = PROTOCOL, **terms: Any
) -> Result:
    """The result of a measure of a cell with these launches."""
    context = Context("key", TOLERANCE, protocol["gates"], emulated=is_emulated(launches), **terms)
    result = summarise(measure, launches, protocol["measures"][measure], context)
    assert set(result.columns) <= set(all_measures()[measure].fills), "as its measure.yaml says"
    return result


def is_finished(
    launches: list[dict[str, Any]], protocol: Document, *measures: str, key: str = "k"
) -> bool:
    """Whether measures need no further round; an experiment ends the rounds of a cell with a bad launch."""
    return all(
        host_of(measure).is_finished(
            launches, host_of(measure).settings(protocol["measures"][measure]), key
        )
        for measure in measures
    )


def test_good_launches_are_a_good_result():
    result = result_of(
        "latency",
        *[make_launch([10, 11, 12]), make_launch([12, 13, 14])] * 3,
        protocol=with_measures(PROTOCOL, latency={"target_half_width": 0.2}),
    )
    summary = result.columns
    assert (result.status, result.reason, result.flags) == ("ok", None, [])
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
    summary = result_of(
        "cold_start", *(make_launch(phases=phase_ms) for phase_ms in phases)
    ).columns
    assert (summary["cold_start_ms"], summary["cold_import_ms"]) == (2.0, 8.0)
    assert summary["cold_total_ms"] == 118.0  # of 116, 118, 147


def test_what_is_not_known_is_none_and_never_zero():
    launch = make_launch(resources={"cpu_utilisation": None}, phases={"start": 1.0, "import": 2.0})
    columns = result_of("latency", launch, launch).columns
    for name in ("peak_rss_mb", "load_rss_mb", "cpu_utilisation", "other_cpu_utilisation"):
        assert columns[name] is None, name
    columns = result_of("cold_start", launch, launch).columns
    for name in ("cold_load_ms", "cold_first_ms", "cold_total_ms"):
        assert columns[name] is None, name
    assert columns["cold_import_ms"] == 2.0


@pytest.mark.parametrize("measure", ["latency", "cold_start", "quality", "operators", "accuracy"])
@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_one_bad_launch_leaves_no_numbers(status: str, measure: str):
    bad = bad_launch(status, "no end within 60 s")
    result = result_of(measure, make_launch(), make_launch(), bad)
    assert (result.status, result.columns) == (status, {})
    assert result.reason == "no end within 60 s (launch 3, after 2 good ones)"
    assert result.log == "Segmentation fault\n"
    last_launch = result.launches[-1]
    assert (last_launch["status"], last_launch["phases"]) == (status, {"start": 20.0}), (
        "it tells where it ended"
    )


def test_a_first_bad_launch_has_its_reason_alone():
    assert result_of("latency", bad_launch(reason="because")).reason == "because"


def test_one_wrong_launch_makes_a_cell_wrong_but_keeps_its_latency():
    wrong = Comparison(0.41, 7.3, 1.2, False)
    launches = [make_launch(), make_launch(comparison=wrong.as_dict()), make_launch()]
    result = result_of("latency", *launches)
    assert result.status == "wrong" and "cosine 0.41" in str(result.reason)
    assert result.columns["latency_ms"] == 10.0
    assert result.columns["max_abs_error"] == 7.3
    assert result.columns["top1_match"] is False
    assert result_of("cold_start", *launches).status == "wrong"


def test_an_output_that_was_not_compared_is_wrong():
    for missing in ({"comparison": None}, {"comparison": {}}):
        result = result_of("latency", make_launch(), make_launch(**missing))
        assert (result.status, result.reason) == ("wrong", "the output was not compared")
    launch = make_launch()
    del launch["comparison"]
    assert result_of("latency", make_launch(), launch).status == "wrong"


def test_a_problem_is_told_as_it_is():
    problem = Comparison(problem="the output 'logits' is constant")
    result = result_of("latency", make_launch(comparison=problem.as_dict()))
    assert (result.status, result.reason) == ("wrong", problem.problem)
    assert result.columns["cosine"] is None


def test_the_worst_comparison_takes_each_measure_apart():
    first, second = Comparison(0.9, 0.1, 0.5, True), Comparison(0.99, 0.3, 0.2, None)
    launches = [make_launch(comparison=comparison.as_dict()) for comparison in (first, second)]
    assert worst_comparison(launches) == Comparison(0.9, 0.3, 0.5, True)
    assert worst_comparison([make_launch(comparison=second.as_dict())]).top1_match is None


def test_agreeing_launches_are_precise_and_not_flagged():
    result = result_of("latency", *[make_launch([10.0, 10.0, 10.0])] * 3)
    assert result.flags == [] and result.columns["stopped_because"] == "precise"


def test_launches_that_disagree_beyond_the_target_are_noisy():
    def spread(ratio: float) -> list[str]:
        pair = [make_launch([10.0] * 3), make_launch([10.0 * ratio] * 3)]
        return list(result_of("latency", *pair * 3).flags)

    # The half width is (ratio - 1) / (ratio + 1); the target is 0.05.
    assert spread(1.1) == []
    assert spread(1.12) == ["noisy"]


def flags_of(*launches: dict[str, Any], **options: Any) -> list[str]:
    return list(result_of("latency", *launches, **options).flags)


def contended(cores: float | None) -> dict[str, Any]:
    return make_launch([10.0] * 3, resources={"other_cpu_utilisation": cores})


def test_others_at_work_flag_a_cell_as_contended():
    busy, calm = CONTENDED_CORES + 0.1, CONTENDED_CORES - 0.1
    assert "contended" in flags_of(*map(contended, (busy, calm, calm)))
    assert "contended" not in flags_of(*map(contended, (busy, *[calm] * 3)))
    strict = PROTOCOL | {"gates": PROTOCOL["gates"] | {"other_cpu_cores": calm / 2}}
    assert "contended" in flags_of(contended(calm), contended(calm), protocol=strict)
    assert "contended" not in flags_of(contended(None), contended(None))


def test_a_latency_is_finished_when_it_is_precise_or_out_of_budget():
    def agreeing(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0] * 2)] * count

    def disagreeing(count: int) -> list[dict[str, Any]]:
        return [make_launch([10.0 + 5 * (number % 2)] * 3) for number in range(count)]

    protocol = with_measures(PROTOCOL, latency={"launches": {"min": 3, "max": 5}})
    finished = {count: is_finished(agreeing(count), protocol, "latency") for count in range(4)}
    assert finished == {0: False, 1: False, 2: False, 3: False}, "one look is not enough"
    assert is_finished(agreeing(4), protocol, "latency"), "narrow on two looks in a row"
    assert {count: is_finished(disagreeing(count), protocol, "latency") for count in (3, 4, 5, 6)} == {
        3: False, 4: False, 5: True, 6: True,
    }  # fmt: skip


def test_the_same_launches_give_the_same_result():
    launches = [make_launch([10 + 0.1 * n, 11, 12]) for n in range(5)]
    for measure in ("latency", "cold_start"):
        assert result_of(measure, *launches) == result_of(measure, *launches)


def test_a_right_comparison_is_no_violation():
    assert RIGHT.violation(TOLERANCE) is None


def test_what_cannot_be_is_a_failure_with_its_reason():
    result = result_of("latency", *[make_launch()] * 3, fastest_ms=11.0)
    assert result.status == "failed" and "at the processor's peak" in str(result.reason)
    result = result_of("latency", *[make_launch([10.0] * 4)] * 3)
    assert result.status == "failed" and "the same to the last digit" in str(result.reason)


def cold_launch(total_ms: float) -> dict[str, Any]:
    phases = {"start": 1.0, "import": 2.0, "read": total_ms - 10.0, "load": 3.0, "first": 4.0}
    launch = make_launch(mode="cold", phases=phases, page_cache_share=0.0)
    for name in ("warm_ms", "warmup_ms", "steady"):
        del launch[name]
    return launch


def test_cold_page_caches_have_figures_of_their_own():
    cold = [cold_launch(total) for total in (50.0, 60.0, 70.0)]
    assert result_of("latency", *[make_launch()] * 3, *cold).columns["launches"] == 3
    summary = result_of("cold_start", *[make_launch()] * 3, *cold).columns
    assert summary["cold_total_ms"] == 110.0
    assert (summary["cold_cache_total_ms"], summary["cold_cache_read_ms"]) == (60.0, 50.0)
    assert summary["cold_cache_total_ci_low_ms"] < 60.0 < summary["cold_cache_total_ci_high_ms"]
    assert summary["page_cache_share"] == 0.0
    assert summary["steady_after_ms"] == 121.0, "the warm-up comes on top"


def test_a_bad_cold_launch_is_a_bad_launch_and_cold_launches_are_waited_for():
    bad = bad_launch() | {"mode": "cold"}
    assert result_of("cold_start", make_launch(), bad).status == "failed"
    assert result_of("latency", make_launch(), bad).status == "failed"
    protocol = with_measures(
        PROTOCOL, cold_start={"launches": 2}, latency={"launches": {"min": 2, "max": 2}}
    )
    measures = ("latency", "cold_start")
    launches = [make_launch(), make_launch(), cold_launch(50.0)]
    assert not is_finished(launches, protocol, *measures)
    assert is_finished([*launches, cold_launch(50.0)], protocol, *measures)


def profile_launch(sum_ms: float) -> dict[str, Any]:
    return make_launch(mode="profile", profile={"operators": [], "sum_ms": sum_ms}) | {"gate": None}


def test_the_operators_sum_is_held_against_the_latency():
    def gap(sum_ms: float) -> tuple[float, bool]:
        launches = [*[make_launch()] * 3, profile_launch(sum_ms)]
        result = result_of("operators", *launches, latency_ms=10.0)
        return result.columns["operators_gap"], "operators_gap" in result.flags

    assert gap(10.0) == (0.0, False)
    assert gap(11.4) == (pytest.approx(0.14), False)
    assert gap(11.6) == (pytest.approx(0.16), True)
    assert gap(8.0) == (pytest.approx(-0.2), True)


def test_a_profile_that_failed_leaves_the_latency():
    failed = bad_launch(reason="in phase profile: RuntimeError: no") | {"mode": "profile"}
    result = result_of("latency", *[make_launch()] * 3, failed)
    assert result.status == "ok" and result.columns["latency_ms"] == 10.0
    result = result_of("operators", *[make_launch()] * 3, failed, latency_ms=10.0)
    assert result.status == "failed", "its own result says so, and the cell's does not depend on it"
    assert result.columns["operators_reason"] == "in phase profile: RuntimeError: no"
    assert result.columns.get("operators_gap") is None


def test_memory_of_loading_and_of_inference_are_told_apart():
    summary = result_of("latency", *[make_launch()] * 2).columns
    assert (summary["peak_load_rss_mb"], summary["peak_inference_rss_mb"]) == (100.0, 120.5)
    resources = make_launch()["resources"] | {"peak_was_reset": 0.0}
    summary = result_of("latency", *[make_launch(resources=resources)] * 2).columns
    assert summary["peak_inference_rss_mb"] is None, "the mark could not be put back"
    assert summary["peak_rss_mb"] == 120.5


def test_continuous_load_has_its_throughput():
    settings = PROTOCOL["measures"]["latency"] | {"window_s": 1.0}
    protocol = with_measures(PROTOCOL, sustained=settings)
    samples = [10.0] * 1000 + [20.0] * 500
    launches = [make_launch(samples, warmup_ms=[])] * 2
    summary = result_of("sustained", *launches, protocol=protocol).columns
    assert summary["throughput_burst_per_s"] == pytest.approx(100.0)
    assert summary["throughput_ratio"] == pytest.approx(0.5, rel=0.02)
    assert summary["settled_after_s"] == 10.0


def test_a_disturbed_cold_start_is_told_and_the_latency_ranks():
    cold = cold_launch(50.0) | {"gate": {"exceeded": ["load"]}}
    launches = [*[make_launch()] * 3, cold]
    assert result_of("cold_start", *launches).flags == ["cold_disturbed"]
    assert "contended" not in result_of("latency", *launches).flags


def test_every_phase_of_the_start_has_an_interval():
    cold = [cold_launch(total) for total in (50.0, 60.0, 70.0)]
    rows = result_of("cold_start", *[make_launch()] * 3, *cold).more["cold_phases"]
    by_phase = {(row["page_cache"], row["phase"]): row for row in rows}
    phases = {"start", "import", "read", "load", "first", "total"}
    assert set(by_phase) == {("cold", phase) for phase in phases} | {
        ("warm", phase) for phase in phases | {"steady"}
    }
    read_phase = by_phase["cold", "read"]
    assert (read_phase["ms"], read_phase["launches"]) == (50.0, 3)
    assert read_phase["low_ms"] < 50 < read_phase["high_ms"]


def test_the_quality_on_held_out_inputs_stands_in_the_result():
    launches = [make_launch(), make_launch(), quality_launch(Quality(16, 0.9999, 14.2, 0.75))]
    result = result_of("quality", *launches)
    assert result.status == "ok"
    assert result_of("latency", *launches).columns["launches"] == 2
    expected = {
        "heldout_samples": 16,
        "heldout_cosine": 0.9999,
        "sqnr_db": 14.2,
        "top1_agreement": 0.75,
    }
    assert {name: result.columns[name] for name in expected} == expected


def test_what_passes_cost_stands_beside_the_conversion_and_judges_nothing():
    compression = Quality(16, 0.2, -3.0, 0.1).as_dict()
    launch = quality_launch(Quality(16, 0.9999, 41.0, 1.0), compression=compression)
    result = result_of("quality", launch)
    assert (result.status, result.columns["sqnr_db"]) == ("ok", 41.0)
    expected = {
        "compression_cosine": 0.2,
        "compression_sqnr_db": -3.0,
        "compression_top1_agreement": 0.1,
    }
    assert {name: result.columns[name] for name in expected} == expected
    without_passes = result_of("quality", quality_launch(Quality(16, 0.9999, 41.0, 1.0)))
    assert [without_passes.columns[name] for name in expected] == [None, None, None]


def test_without_quality_nothing_is_known_of_it():
    columns = result_of("latency", make_launch(), make_launch()).columns
    assert columns.get("sqnr_db") is None and columns.get("heldout_samples") is None


def test_a_bad_quality_makes_a_cell_wrong_but_keeps_its_latency():
    bad = Quality(16, 0.3, 0.4, 0.0)
    launches = [make_launch(), make_launch(), quality_launch(bad)]
    result = result_of("quality", *launches)
    assert result.status == "wrong" and "held-out inputs: cosine 0.3" in str(result.reason)
    assert result_of("latency", *launches).columns["latency_ms"] == 10.0


def test_an_emulated_cell_has_a_verdict_and_no_latency():
    launch = make_launch([], warmup_ms=[], emulated=True)
    assert is_finished([launch], PROTOCOL, "latency", "cold_start", key="key")
    assert closing_modes(PROTOCOL, emulated=True) == ["quality", "accuracy"]
    launches = [launch, quality_launch(Quality(16, 0.9999, 14.2, 0.75), emulated=False)]
    for measure in PROTOCOL["measures"]:
        result = result_of(measure, *launches)
        assert (result.status, list(result.flags)) == ("ok", [])
    result = result_of("latency", *launches)
    assert result.columns == {
        "launches": 1, "cosine": 1.0, "max_abs_error": 1e-6, "top1_match": True,
    }  # fmt: skip
    assert result_of("quality", *launches).columns["sqnr_db"] == 14.2
    assert result_of("cold_start", *launches).columns.get("cold_total_ms") is None
    wrong = Comparison(0.41, 7.3, 1.2, False).as_dict()
    assert result_of("latency", launch | {"comparison": wrong}).status == "wrong"


def closing_modes(protocol: Document, emulated: bool = False) -> list[str]:
    """The launches that follow the rounds, in their order."""
    return [
        mode
        for measure in all_measures()
        if measure in protocol["measures"]
        for mode in host_of(measure).after_rounds(
            host_of(measure).settings(protocol["measures"][measure]), emulated
        )
    ]
