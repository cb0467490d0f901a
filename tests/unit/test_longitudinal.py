"""Series over versions, on tables made by hand whose steps are known."""

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


def of(version: str, ms: float, half_ms: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of the history; half of its interval is 1 % where nothing else is said."""
    half = ms / 100 if half_ms is None else half_ms
    other = {
        "library_version": version,
        "key": f"{version}/{sorted(more.items())}",
        "experiment": "first/host/resnet50",
        "measured_at": 1,
        "superseded": False,
        "conditions": ["model", "device", "protocol", "runner"],
    }
    return row("ncnn", ms, half) | other | more


def series_of(latencies: list[float], *more: dict[str, Any], **options: Any) -> Series:
    rows = [of(version, ms) for version, ms in zip(VERSIONS, latencies, strict=False)]
    every = all_series([*rows, *more], **options)
    (found,) = [one for one in every if one.setting["protocol"] == "standard"]
    return found


def test_versions_are_in_order_and_not_in_that_of_the_alphabet():
    assert sorted(["1.10", "nightly", "1.9", "1.0.20240102"], key=order) == [
        "nightly", "1.0.20240102", "1.9", "1.10",
    ]  # fmt: skip
    rows = [of("1.10.0", 1), of("1.9.0", 2), of("2.0", 3, library="mnn")]
    assert [one["library_version"] for one in newest(rows)] == ["2.0", "1.10.0"]


def test_a_flat_series_has_no_step():
    found = series_of([10.0, 10.1, 9.9, 10.05, 10.0, 9.95, 10.1, 9.9])
    assert found.steps == () and len(found.points) == 8
    assert found.levels_ms == pytest.approx([10.0] * 8, rel=0.01)


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
    narrow = [of(v, ms, 0.1) for v, ms in zip(VERSIONS, latencies, strict=False)]
    wide = [of(v, ms, 2.0) for v, ms in zip(VERSIONS, latencies, strict=False)]
    assert len(all_series(narrow)[0].steps) == 1
    assert all_series(wide)[0].steps == ()


def test_one_uncertain_version_makes_no_step_and_a_certain_one_two():
    uncertain = [of(v, 10.0) for v in VERSIONS[:3]]
    others = [of(v, 10.0) for v in VERSIONS[4:]]
    assert all_series([*uncertain, of(VERSIONS[3], 13.0, 3.0), *others])[0].steps == ()
    found = all_series([*uncertain, of(VERSIONS[3], 13.0), *others])[0]
    assert [step.position for step in found.steps] == [3, 4]


def test_a_slowdown_that_is_taken_back_lasted_so_many_versions_and_days():
    released = {"ncnn": {"1.10.0": "2024-01-31", "1.13.0": "2024-03-01"}}
    found = series_of([10.0, 10.0, 13.0, 13.0, 13.0, 10.1, 10.0, 10.0], released=released)
    (slow,) = slowdowns(found)
    assert slow.step.after.version == "1.10.0" and slow.fixed.after.version == "1.13.0"
    assert slow.versions == ("1.10.0", "1.11.0", "1.12.0") and slow.days == 30


def test_a_slowdown_on_another_is_taken_back_where_its_own_level_is_reached():
    found = series_of([10.0, 10.0, 12.0, 12.0, 15.0, 12.0, 12.0, 12.0])
    first, second = slowdowns(found)
    assert first.fixed is None and first.versions == tuple(VERSIONS[2:]) and first.days is None
    assert second.fixed.after.version == "1.13.0" and second.versions == ("1.12.0",)


def test_a_speed_up_is_no_slowdown():
    found = series_of([10.0, 10.0, 10.0, 8.0, 8.0, 8.0])
    assert [step.is_slowdown for step in found.steps] == [False] and slowdowns(found) == []


STEP = [10.0, 10.0, 10.0, 12.0, 12.0, 12.0]
BEFORE, AFTER = VERSIONS[2], VERSIONS[3]


def rerun(version: str, ms: float, **more: Any) -> dict[str, Any]:
    again = {"experiment": "second/host/resnet50", "protocol": "quick", "measured_at": 2}
    return of(version, ms, **again | more)


def test_a_second_experiment_with_both_versions_confirms_a_step():
    (step,) = series_of(STEP, rerun(BEFORE, 20.0), rerun(AFTER, 24.0)).steps
    assert step.rerun is Rerun.CONFIRMED


@pytest.mark.parametrize(
    "more",
    [
        [rerun(BEFORE, 20.0)],  # one of them alone
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, experiment="third/host/resnet50")],
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, flags=["noisy"])],
        [rerun(BEFORE, 20.0, status="wrong"), rerun(AFTER, 24.0)],
        [rerun(BEFORE, 20.0, half_ms=3.0), rerun(AFTER, 24.0, half_ms=3.0)],  # they overlap
        [rerun(BEFORE, 20.0, experiment=None), rerun(AFTER, 24.0, experiment=None)],
        [rerun(BEFORE, 20.0, model="vgg16"), rerun(AFTER, 24.0, model="vgg16")],
        [rerun(BEFORE, 20.0), rerun(AFTER, 24.0, threads=2)],
    ],
)
def test_what_is_no_second_look_confirms_nothing(more):
    (step,) = series_of(STEP, *more).steps
    assert step.rerun is Rerun.OPEN


@pytest.mark.parametrize("ms", [(24.0, 20.0), (20.0, 20.0)])
def test_a_second_experiment_that_shows_nothing_or_less_contradicts_a_step(ms):
    found = series_of(STEP, rerun(BEFORE, ms[0]), rerun(AFTER, ms[1]))
    assert [step.rerun for step in found.steps] == [Rerun.CONTRADICTED]
    assert slowdowns(found) == []
    faster = [10.0, 10.0, 10.0, 8.0, 8.0, 8.0]
    found = series_of(faster, rerun(BEFORE, ms[1]), rerun(AFTER, ms[0]))
    assert [step.rerun for step in found.steps] == [Rerun.CONTRADICTED]


def test_the_first_experiment_contradicts_a_step_to_a_version_that_was_measured_again_alone():
    later = [of(v, 12.0, experiment="second/host/resnet50", measured_at=2) for v in VERSIONS[3:6]]
    found = series_of([10.0] * 6, *later)
    assert [(one.crosses_experiments, one.rerun) for one in found.steps] == [
        (True, Rerun.CONTRADICTED)
    ]
    assert slowdowns(found) == []


def test_one_rerun_that_shows_a_step_outweighs_one_that_does_not():
    third = {"experiment": "third/host/resnet50"}
    more = [rerun(BEFORE, 20.0), rerun(AFTER, 20.0), rerun(BEFORE, 20.0, **third),
            rerun(AFTER, 24.0, **third)]  # fmt: skip
    (step,) = series_of(STEP, *more).steps
    assert step.rerun is Rerun.CONFIRMED


def test_a_contradicted_step_down_takes_no_slowdown_back():
    points = [10.0, 10.0, 12.0, 12.0, 10.0, 10.0]
    last = VERSIONS[3], VERSIONS[4]
    (slow,) = slowdowns(series_of(points, *(rerun(version, 20.0) for version in last)))
    assert slow.fixed is None and slow.versions == tuple(VERSIONS[2:6])


def test_results_that_were_set_aside_confirm_and_are_no_points():
    old = [rerun(v, ms, superseded=True, protocol="standard")
           for v, ms in ((BEFORE, 30.0), (AFTER, 40.0))]  # fmt: skip
    found = series_of(STEP, *old)
    assert found.steps[0].rerun is Rerun.CONFIRMED and found.points[2].latency_ms == 10.0


def test_of_several_results_the_newest_counts():
    again = of(VERSIONS[0], 11.0, measured_at=5)
    assert series_of([10.0, 11.0, 11.0], again).points[0].latency_ms == 11.0


def test_conditions_are_not_mixed():
    rows = [of(v, ms) for v, ms in zip(VERSIONS, [10.0, 10.0, 10.0], strict=False)]
    newer = [of(v, 20.0, measured_at=9, conditions=["model", "device", "protocol", "runner 2"])
             for v in VERSIONS[2:4]]  # fmt: skip
    (found,) = all_series([*rows, *newer])
    assert [point.latency_ms for point in found.points] == [10.0] * 3
    (found,) = all_series([*rows[:2], *newer])
    assert [point.latency_ms for point in found.points] == [20.0] * 2  # as many: the latest


def test_versions_measured_apart_are_marked():
    rows = [of(v, ms, experiment=f"{n // 3}/host/resnet50")
            for n, (v, ms) in enumerate(zip(VERSIONS, STEP, strict=False))]  # fmt: skip
    (step,) = all_series(rows)[0].steps
    assert step.crosses_experiments


def test_what_does_not_count_is_named_and_no_point():
    rows = [
        of("1.1", 10.0), of("1.2", 10.0), of("1.3", 10.0, status="wrong"),
        of("1.4", 10.0, flags=["noisy"]), of("1.5", 10.0, emulated=True),
        of("1.6", 10.0) | {"latency_ci_low_ms": None, "latency_ci_high_ms": None},
        row("ncnn", None) | of("1.7", 1.0) | {"latency_ms": None},
    ]  # fmt: skip
    (found,) = all_series(rows)
    assert [point.version for point in found.points] == ["1.1", "1.2"]
    assert found.left_out == {
        "1.3": "wrong", "1.4": "noisy", "1.5": "emulated", "1.6": "no interval", "1.7": "no latency",
    }  # fmt: skip
    (found,) = all_series(rows, flagged=True)
    assert "1.4" in [point.version for point in found.points]
    assert all_series(rows[:1]) == []


logarithms = st.lists(st.floats(-3, 3), min_size=1, max_size=14)


@given(logarithms, st.floats(0.001, 1))
def test_boundaries_lie_inside_and_every_step_is_clear(logs, sigma):
    values, sigmas = np.asarray(logs), np.full(len(logs), sigma)
    starts = boundaries(values, sigmas)
    assert starts == sorted(set(starts)) and all(0 < start < len(logs) for start in starts)
    found = levels(values, sigmas, starts)
    assert sum(one.count for one in found) == len(logs)
    for one, two in itertools.pairwise(found):
        assert abs(two.mean - one.mean) > math.log1p(LEAST_STEP)
        assert one.error > 0 and two.error > 0


@given(st.floats(-3, 3), st.integers(1, 20), st.floats(0, 1))
def test_a_constant_has_no_boundaries(log, count, sigma):
    assert boundaries(np.full(count, log), np.full(count, sigma)) == []


def test_a_level_weighs_its_points_and_widens_where_they_scatter():
    (one,) = levels(np.asarray([0.0, 0.3]), np.asarray([0.1, 0.2]), [])
    assert one.mean == pytest.approx(0.3 * 0.2)  # weights of 4 to 1
    weights = 1 / 0.01 + 1 / 0.04
    scatter = 0.06**2 / 0.01 + 0.24**2 / 0.04
    assert one.error == pytest.approx(math.sqrt(scatter / weights))
    (two,) = levels(np.asarray([1.0, 1.0]), np.asarray([0.0, 0.0]), [])
    assert two.error == pytest.approx(LEAST_NOISE / math.sqrt(2))


@pytest.mark.parametrize(("scatter", "most"), [(0.01, 0.05), (0.02, 0.2), (0.03, 0.2)])
def test_scatter_beyond_the_intervals_is_seldom_taken_for_steps(scatter, most):
    """18 flat points whose intervals say 0.5 %; with those alone nearly every series would have steps."""
    random = np.random.default_rng(1)
    series = [random.normal(2.3, scatter, 18) for _ in range(200)]
    found = [bool(boundaries(logs, np.full(18, 0.005))) for logs in series]
    assert np.mean(found) <= most


def test_a_step_above_the_scatter_is_found():
    random = np.random.default_rng(1)
    series = [random.normal(2.3, 0.02, 18) + np.repeat([0, 0.15], 9) for _ in range(200)]
    found = [9 in boundaries(logs, np.full(18, 0.005)) for logs in series]
    assert np.mean(found) > 0.9
