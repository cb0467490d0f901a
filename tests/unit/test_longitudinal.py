"""Series over versions, on small tables whose steps are known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from cellfarm.analysis.longitudinal import Rerun, Series, all_series, slowdowns
from cellfarm.analysis.shifts import LEAST_NOISE, LEAST_STEP, boundaries, levels
from cellfarm.analysis.versions import newest, order
from hypothesis import given
from hypothesis import strategies as st

from tests.support.synthetic_warehouse import row

VERSIONS = ["1.8.0", "1.9.0", "1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.14.0", "1.15.0"]


def result(version: str, ms: float, half_ms: float | None = None, **fields: Any) -> dict[str, Any]:
    """A row of the history; half of its interval is 1 % by default."""
    half = ms / 100 if half_ms is None else half_ms
    defaults = {
        "library_version": version,
        "key": f"{version}/{sorted(fields.items())}",
        "experiment": "first/host/resnet50",
        "measured_at": 1,
        "superseded": False,
        "conditions": ["model", "device", "protocol", "runner"],
    }
    return row("ncnn", ms, half) | defaults | fields


def series_of(latencies: list[float], *further_rows: dict[str, Any], **options: Any) -> Series:
    rows = [result(version, ms) for version, ms in zip(VERSIONS, latencies, strict=False)]
    candidates = all_series([*rows, *further_rows], **options)
    (chosen,) = [series for series in candidates if series.setting["protocol"] == "standard"]
    return chosen


def test_versions_are_in_order_and_not_in_that_of_the_alphabet():
    assert sorted(["1.10", "nightly", "1.9", "1.0.20240102"], key=order) == [
        "nightly", "1.0.20240102", "1.9", "1.10",
    ]  # fmt: skip
    rows = [result("1.10.0", 1), result("1.9.0", 2), result("2.0", 3, library="mnn")]
    assert [row["library_version"] for row in newest(rows)] == ["2.0", "1.10.0"]


def test_a_flat_series_has_no_step():
    series = series_of([10.0, 10.1, 9.9, 10.05, 10.0, 9.95, 10.1, 9.9])
    assert series.steps == () and len(series.points) == 8
    assert series.levels_ms == pytest.approx([10.0] * 8, rel=0.01)


def test_a_step_has_its_place_its_size_and_an_interval_that_holds_it():
    (step,) = series_of([10.0, 10.1, 9.9, 10.0, 12.0, 12.1, 11.9, 12.0]).steps
    assert (step.before.version, step.after.version, step.position) == ("1.11.0", "1.12.0", 4)
    assert step.ratio == pytest.approx(1.2, rel=0.01)
    # Four points of 1 % on either side: the error of the difference is 1 % / sqrt(2).
    half = 1.959964 * 0.01 / math.sqrt(2)
    assert step.low == pytest.approx(step.ratio * math.exp(-half), rel=1e-3)
    assert step.high == pytest.approx(step.ratio * math.exp(half), rel=1e-3)
    assert step.is_slowdown and not step.crosses_experiments and step.rerun is Rerun.OPEN


def test_wide_intervals_hide_a_step_and_narrow_ones_show_it():
    latencies = [10.0, 10.0, 10.0, 11.0, 11.0, 11.0]
    narrow = [result(v, ms, 0.1) for v, ms in zip(VERSIONS, latencies, strict=False)]
    wide = [result(v, ms, 2.0) for v, ms in zip(VERSIONS, latencies, strict=False)]
    assert len(all_series(narrow)[0].steps) == 1
    assert all_series(wide)[0].steps == ()


def test_one_uncertain_version_makes_no_step_and_a_certain_one_two():
    earlier = [result(v, 10.0) for v in VERSIONS[:3]]
    later = [result(v, 10.0) for v in VERSIONS[4:]]
    assert all_series([*earlier, result(VERSIONS[3], 13.0, 3.0), *later])[0].steps == ()
    series = all_series([*earlier, result(VERSIONS[3], 13.0), *later])[0]
    assert [step.position for step in series.steps] == [3, 4]


def test_a_slowdown_that_is_taken_back_lasted_so_many_versions_and_days():
    released = {"ncnn": {"1.10.0": "2024-01-31", "1.13.0": "2024-03-01"}}
    series = series_of([10.0, 10.0, 13.0, 13.0, 13.0, 10.1, 10.0, 10.0], released=released)
    (slowdown,) = slowdowns(series)
    assert slowdown.step.after.version == "1.10.0" and slowdown.fixed.after.version == "1.13.0"
    assert slowdown.versions == ("1.10.0", "1.11.0", "1.12.0") and slowdown.days == 30


def test_a_slowdown_on_another_is_taken_back_where_its_own_level_is_reached():
    series = series_of([10.0, 10.0, 12.0, 12.0, 15.0, 12.0, 12.0, 12.0])
    first, second = slowdowns(series)
    assert first.fixed is None and first.versions == tuple(VERSIONS[2:]) and first.days is None
    assert second.fixed.after.version == "1.13.0" and second.versions == ("1.12.0",)


def test_a_speed_up_is_no_slowdown():
    series = series_of([10.0, 10.0, 10.0, 8.0, 8.0, 8.0])
    assert [step.is_slowdown for step in series.steps] == [False] and slowdowns(series) == []


STEP = [10.0, 10.0, 10.0, 12.0, 12.0, 12.0]
BEFORE, AFTER = VERSIONS[2], VERSIONS[3]


def rerun(version: str, ms: float, **fields: Any) -> dict[str, Any]:
    defaults = {"experiment": "second/host/resnet50", "protocol": "quick", "measured_at": 2}
    return result(version, ms, **defaults | fields)


def test_a_second_experiment_with_both_versions_confirms_a_step():
    (step,) = series_of(STEP, rerun(BEFORE, 20.0), rerun(AFTER, 24.0)).steps
    assert step.rerun is Rerun.CONFIRMED


@pytest.mark.parametrize(
    "reruns",
    [
        [rerun(BEFORE, 20.0)],  # only one of the versions
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, experiment="third/host/resnet50")],
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, flags=["noisy"])],
        [rerun(BEFORE, 20.0, status="wrong"), rerun(AFTER, 24.0)],
        [rerun(BEFORE, 20.0, half_ms=3.0), rerun(AFTER, 24.0, half_ms=3.0)],  # they overlap
        [rerun(BEFORE, 20.0, experiment=None), rerun(AFTER, 24.0, experiment=None)],
        [rerun(BEFORE, 20.0, model="vgg16"), rerun(AFTER, 24.0, model="vgg16")],
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, threads=2)],
    ],
)
def test_what_is_no_second_look_confirms_nothing(reruns):
    (step,) = series_of(STEP, *reruns).steps
    assert step.rerun is Rerun.OPEN


@pytest.mark.parametrize("ms", [(24.0, 20.0), (20.0, 20.0)])
def test_a_second_experiment_that_shows_nothing_or_less_contradicts_a_step(ms):
    series = series_of(STEP, rerun(BEFORE, ms[0]), rerun(AFTER, ms[1]))
    assert [step.rerun for step in series.steps] == [Rerun.CONTRADICTED]
    assert slowdowns(series) == []
    faster = [10.0, 10.0, 10.0, 8.0, 8.0, 8.0]
    series = series_of(faster, rerun(BEFORE, ms[1]), rerun(AFTER, ms[0]))
    assert [step.rerun for step in series.steps] == [Rerun.CONTRADICTED]


def test_the_first_experiment_contradicts_a_step_to_a_version_that_was_measured_again_alone():
    later = [
        result(v, 12.0, experiment="second/host/resnet50", measured_at=2) for v in VERSIONS[3:6]
    ]
    series = series_of([10.0] * 6, *later)
    assert [(step.crosses_experiments, step.rerun) for step in series.steps] == [
        (True, Rerun.CONTRADICTED)
    ]
    assert slowdowns(series) == []


def test_one_rerun_that_shows_a_step_outweighs_one_that_does_not():
    third_experiment = {"experiment": "third/host/resnet50"}
    reruns = [rerun(BEFORE, 20.0), rerun(AFTER, 20.0), rerun(BEFORE, 20.0, **third_experiment),
              rerun(AFTER, 24.0, **third_experiment)]  # fmt: skip
    (step,) = series_of(STEP, *reruns).steps
    assert step.rerun is Rerun.CONFIRMED


def test_a_contradicted_step_down_takes_no_slowdown_back():
    latencies = [10.0, 10.0, 12.0, 12.0, 10.0, 10.0]
    versions = VERSIONS[3], VERSIONS[4]
    (slowdown,) = slowdowns(series_of(latencies, *(rerun(version, 20.0) for version in versions)))
    assert slowdown.fixed is None and slowdown.versions == tuple(VERSIONS[2:6])


def test_results_that_were_set_aside_confirm_and_are_no_points():
    superseded = [rerun(v, ms, superseded=True, protocol="standard")
                  for v, ms in ((BEFORE, 30.0), (AFTER, 40.0))]  # fmt: skip
    series = series_of(STEP, *superseded)
    assert series.steps[0].rerun is Rerun.CONFIRMED and series.points[2].latency_ms == 10.0


def test_of_several_results_the_newest_counts():
    newest_result = result(VERSIONS[0], 11.0, measured_at=5)
    assert series_of([10.0, 11.0, 11.0], newest_result).points[0].latency_ms == 11.0


def test_conditions_are_not_mixed():
    rows = [result(v, ms) for v, ms in zip(VERSIONS, [10.0, 10.0, 10.0], strict=False)]
    newer = [result(v, 20.0, measured_at=9, conditions=["model", "device", "protocol", "runner 2"])
             for v in VERSIONS[2:4]]  # fmt: skip
    (series,) = all_series([*rows, *newer])
    assert [point.latency_ms for point in series.points] == [10.0] * 3
    (series,) = all_series([*rows[:2], *newer])
    assert [point.latency_ms for point in series.points] == [20.0] * 2  # equal counts: the latest


def test_versions_measured_apart_are_marked():
    rows = [result(v, ms, experiment=f"{n // 3}/host/resnet50")
            for n, (v, ms) in enumerate(zip(VERSIONS, STEP, strict=False))]  # fmt: skip
    (step,) = all_series(rows)[0].steps
    assert step.crosses_experiments


def test_what_does_not_count_is_named_and_no_point():
    rows = [
        result("1.1", 10.0), result("1.2", 10.0), result("1.3", 10.0, status="wrong"),
        result("1.4", 10.0, flags=["noisy"]), result("1.5", 10.0, emulated=True),
        result("1.6", 10.0) | {"latency_ci_low_ms": None, "latency_ci_high_ms": None},
        row("ncnn", None) | result("1.7", 1.0) | {"latency_ms": None},
    ]  # fmt: skip
    (series,) = all_series(rows)
    assert [point.version for point in series.points] == ["1.1", "1.2"]
    assert series.left_out == {
        "1.3": "wrong", "1.4": "noisy", "1.5": "emulated", "1.6": "no interval", "1.7": "no latency",
    }  # fmt: skip
    (series,) = all_series(rows, flagged=True)
    assert "1.4" in [point.version for point in series.points]
    assert all_series(rows[:1]) == []


logarithms = st.lists(st.floats(-3, 3), min_size=1, max_size=14)


@given(logarithms, st.floats(0.001, 1))
def test_boundaries_lie_inside_and_every_step_is_clear(logs, sigma):
    values, sigmas = np.asarray(logs), np.full(len(logs), sigma)
    starts = boundaries(values, sigmas)
    assert starts == sorted(set(starts)) and all(0 < start < len(logs) for start in starts)
    fitted = levels(values, sigmas, starts)
    assert sum(level.count for level in fitted) == len(logs)
    for level, following in itertools.pairwise(fitted):
        assert abs(following.mean - level.mean) > math.log1p(LEAST_STEP)
        assert level.error > 0 and following.error > 0


@given(st.floats(-3, 3), st.integers(1, 20), st.floats(0, 1))
def test_a_constant_has_no_boundaries(log, count, sigma):
    assert boundaries(np.full(count, log), np.full(count, sigma)) == []


def test_a_level_weighs_its_points_and_widens_where_they_scatter():
    (level,) = levels(np.asarray([0.0, 0.3]), np.asarray([0.1, 0.2]), [])
    assert level.mean == pytest.approx(0.3 * 0.2)  # weights of 4 to 1
    weights = 1 / 0.01 + 1 / 0.04
    scatter = 0.06**2 / 0.01 + 0.24**2 / 0.04
    assert level.error == pytest.approx(math.sqrt(scatter / weights))
    (exact_level,) = levels(np.asarray([1.0, 1.0]), np.asarray([0.0, 0.0]), [])
    assert exact_level.error == pytest.approx(LEAST_NOISE / math.sqrt(2))


@pytest.mark.parametrize(("scatter", "most"), [(0.01, 0.05), (0.02, 0.2), (0.03, 0.2)])
def test_scatter_beyond_the_intervals_is_seldom_taken_for_steps(scatter, most):
    """18 flat points, intervals of 0.5 %; with the intervals alone nearly every series would have steps."""
    random = np.random.default_rng(1)
    series = [random.normal(2.3, scatter, 18) for _ in range(200)]
    has_steps = [bool(boundaries(logs, np.full(18, 0.005))) for logs in series]
    assert np.mean(has_steps) <= most


def test_a_step_above_the_scatter_is_found():
    random = np.random.default_rng(1)
    series = [random.normal(2.3, 0.02, 18) + np.repeat([0, 0.15], 9) for _ in range(200)]
    is_found = [9 in boundaries(logs, np.full(18, 0.005)) for logs in series]
    assert np.mean(is_found) > 0.9
