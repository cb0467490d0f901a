"""The calibration load: fixed work in a given number of threads."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.runner_modules import runner_module

calibration = runner_module("calibration")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_takes_time_in_every_thread(threads):
    result = calibration.calibrate(threads)
    assert set(result) == {"compute_ms", "memory_ms"}
    assert min(result.values()) > 0


def test_the_callers_own_processors_stay_as_they_were():
    before = os.sched_getaffinity(0)
    calibration.calibrate(1, [min(before)])
    assert os.sched_getaffinity(0) == before
    assert threading.active_count() == 1 or not [
        thread for thread in threading.enumerate() if "work" in thread.name
    ]


def test_each_thread_has_a_core_where_there_are_enough():
    assert calibration._choose_cores(2, [4, 7, 6]) == [4, 7]
    assert calibration._choose_cores(3, [4, 7]) == []
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    assert calibration._choose_cores(1, None) == allowed[:1]


def test_a_core_that_may_not_be_used_is_no_failure():
    assert calibration.calibrate(1, [4095])["compute_ms"] > 0


def test_the_slowest_thread_counts(monkeypatch):
    times = iter([3.0, 9.0, 4.0, 2.0])
    lock = threading.Lock()

    def measured(work):
        with lock:
            return next(times)

    monkeypatch.setattr(calibration._Load, "warm_up", lambda self: None)
    monkeypatch.setattr(calibration, "_cpu_ms", measured)
    assert calibration.calibrate(2) == {"compute_ms": 9.0, "memory_ms": 4.0}


def test_the_copy_copies():
    load = calibration._Load(calibration._Memory())
    load._source._bytes[:3] = b"abc"
    load.copy()
    assert load._target._bytes[:4] == b"abcZ"


def test_the_identity_is_one_line_and_the_same_again():
    assert calibration.identity() == calibration.identity()
    assert "\n" not in calibration.identity() and len(calibration.identity()) <= 200
    assert f"load {calibration.VERSION}," in calibration.identity()
