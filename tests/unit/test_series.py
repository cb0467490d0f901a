"""How long a series of inferences lasts, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runner_modules import runner_module

series = runner_module("series")
BACK_TO_BACK = {"kind": "back_to_back"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Take a series of inferences with these durations, in ms."""

    def take_series(
        durations_ms: Iterator[float], tolerance: float = 0.05, **samples: Any
    ) -> list[float]:
        now = [0]

        def invoke() -> None:
            now[0] += int(next(durations_ms) * 1e6)

        monkeypatch.setattr(series, "time", SimpleNamespace(monotonic_ns=lambda: now[0]))
        limits = {"min": 5, "max": 1000, "seconds": 0.4} | samples
        durations: list[float] = series.series(invoke, BACK_TO_BACK, limits, tolerance)
        return durations

    return take_series


def episodes() -> Iterator[float]:
    """10 ms, and every second quarter of a second 14 ms."""
    return cycle([10.0] * 25 + [14.0] * 18)


def test_a_steady_series_ends_after_its_seconds(run):
    assert sum(run(cycle([10.0, 10.1]), longest_s=2.5)) == pytest.approx(400, abs=15)


def test_without_a_longest_time_an_unsettled_series_ends_after_its_seconds_too(run):
    assert sum(run(episodes())) == pytest.approx(400, abs=15)


def test_episodes_make_a_series_longer_and_never_longer_than_allowed(run):
    assert 1000 < sum(run(episodes(), longest_s=2.5)) <= 2500 + 14


def test_a_single_interruption_does_not_make_a_series_longer(run):
    durations = iter([10.0] * 20 + [300.0] + [10.0] * 1000)
    assert sum(run(durations, longest_s=2.5)) == pytest.approx(410, abs=310)


def test_the_least_and_the_most_samples_hold_whatever_the_time(run):
    assert len(run(cycle([1000.0]), longest_s=2.5)) == 5
    assert len(run(episodes(), longest_s=60, seconds=60, max=30)) == 30
    assert len(run(episodes(), longest_s=1, seconds=0, min=1, tolerance=0)) < 110


@given(st.lists(st.floats(0.01, 1e4), max_size=60), st.floats(0, 1), st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(durations: list[float], tolerance: float, unit: float):
    is_settled = series.settled(durations, tolerance + 1e-9)
    if is_settled:
        assert series.settled([duration * unit for duration in durations], tolerance + 2e-9)


def test_too_short_a_series_is_not_settled():
    assert not series.settled([1.0] * 7, 0.5)
    assert series.settled([1.0] * 8, 0.0)
