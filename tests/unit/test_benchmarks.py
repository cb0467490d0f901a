"""The arithmetic of the benchmarks, and the slowdown that one of them injects; without launches."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.comparing import (
    geometric_interval,
    geometric_mean,
    independent_interval,
    percent,
    ratio_of_medians,
    ratio_of_medians_interval,
)
from benchmarks.figures import Figure
from benchmarks.results import (
    flag_counts,
    half_width,
    interval,
    launch_medians,
    ranks_unflagged,
    ratio,
)


def result(medians: list[float], flags: tuple[str, ...] = (), status: str = "ok") -> dict[str, Any]:
    launches: list[dict[str, Any]] = [
        {"mode": "measure", "status": "ok", "round": number, "warm_ms": [ms, ms * 1.01, ms * 0.99]}
        for number, ms in enumerate(medians)
    ]
    launches.append({"mode": "cold", "status": "ok", "round": 0})
    summary = {"latency_ms": 10.0, "latency_ci_low_ms": 9.0, "latency_ci_high_ms": 11.0}
    return {"status": status, "emulated": False, "flags": list(flags), "columns": summary,
            "launches": launches}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "least", "target", "reached"),
    [
        (5.0, None, None, None),
        (-3.0, None, 2.0, False),
        (-2.0, None, 2.0, True),
        (90.0, 90.0, None, True),
        (89.9, 90.0, None, False),
        (2.0, 3.0, 8.0, False),
        (8.0, 3.0, 8.0, True),
        (9.0, 3.0, 8.0, False),
    ],
)
def test_a_figure_keeps_both_bounds(
    value: float, least: float | None, target: float | None, reached: bool | None
) -> None:
    figure = Figure("what", value, "%", target, least=least)
    assert figure.reached is reached
    assert ("to reach" in figure.lines()[0]) is (reached is not None)


def test_settings_count_alike_however_many_pairs_they_have() -> None:
    assert geometric_mean([[2.0], [0.5, 0.5, 0.5]]) == pytest.approx(1.0)
    assert percent(1.02) == pytest.approx(2.0)


def test_intervals_contain_their_estimates() -> None:
    generator = np.random.default_rng(1)
    ratios = [list(np.exp(generator.normal(0.01, 0.02, 20))) for _ in range(3)]
    low, high = geometric_interval(ratios)
    assert low < geometric_mean(ratios) < high
    ones = [[1.0] * 20] * 3
    low, high = ratio_of_medians_interval(ratios, ones)
    assert low <= ratio_of_medians(ratios, ones) <= high


def test_samples_taken_for_independent_give_a_narrow_interval() -> None:
    samples = [float(value) for value in range(101)]
    low, high = independent_interval(samples)
    assert low < 50 < high
    assert high - low == pytest.approx(20, abs=2)
    assert independent_interval([1.0]) == (1.0, 1.0)


def test_only_measuring_launches_count() -> None:
    assert launch_medians(result([10.0, 11.0])) == [10.0, 11.0]
    paired = ratio(result([10.0, 20.0]), result([11.0, 22.0, 99.0]))
    assert paired.rounds == 2
    assert paired.ratio == pytest.approx(1.1)


def test_a_result_without_an_interval_has_none() -> None:
    measured = result([10.0])
    assert interval(measured) == (9.0, 11.0)
    assert half_width(measured) == pytest.approx(0.1)
    failed = measured | {"columns": {}}
    assert interval(failed) is None
    assert half_width(failed) is None


def test_flags_are_counted_and_keep_a_cell_from_ranking() -> None:
    flagged = result([10.0], flags=("noisy", "contended"))
    assert ranks_unflagged(result([10.0]))
    assert not ranks_unflagged(flagged)
    assert not ranks_unflagged(result([10.0], status="wrong"))
    assert flag_counts([flagged, result([1.0], flags=("noisy",))]) == "noisy 2, contended 1"
    assert flag_counts([]) == "none"


def test_the_injected_slowdown_follows_the_inference(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[], int]
) -> None:
    class Session:
        def invoke(self) -> None:
            for _ in range(1000):
                clock()

    backend: Any = types.ModuleType("unslowed_backend")
    backend.Session, backend.import_library = Session, lambda: "1.0"
    slowdown: Any = types.ModuleType("slowdown")
    slowdown.SHARE = 0.05
    monkeypatch.setitem(sys.modules, "unslowed_backend", backend)
    monkeypatch.setitem(sys.modules, "slowdown", slowdown)
    monkeypatch.delitem(sys.modules, "benchmarks.slowed_backend", raising=False)
    slowed = importlib.import_module("benchmarks.slowed_backend")
    monkeypatch.setattr(slowed, "time", types.SimpleNamespace(monotonic_ns=clock))
    started_ns = clock()
    slowed.Session().invoke()
    assert clock() - started_ns == pytest.approx(1050, abs=5)
    assert slowed.import_library() == "1.0"


@pytest.fixture
def clock() -> Callable[[], int]:
    """A clock that advances by 1 ns at every reading."""
    readings = iter(range(1_000_000))
    return lambda: next(readings)
