"""Pinning, read back from the system."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.runner_modules import runner_module

affinity = runner_module("affinity")


@pytest.fixture
def allowed():
    cores = sorted(os.sched_getaffinity(0))
    yield cores
    affinity.pin(cores)


def test_this_process_runs_where_it_is_told(allowed):
    assert affinity.pin(allowed[-1:]) == allowed[-1:]
    assert os.sched_getaffinity(0) == {allowed[-1]}


@pytest.mark.parametrize("cores", [None, []])
def test_without_cores_everything_stays(allowed, cores):
    assert affinity.pin(cores) == allowed


@pytest.mark.parametrize("cores", [[4095], [-1], [10**30]])
def test_what_the_system_refuses_is_read_back(allowed, cores):
    assert affinity.pin(cores) == allowed


def test_missing_cores_are_left_out_of_the_affinity(allowed):
    assert affinity.pin([allowed[0], 4095]) == allowed[:1]


def test_every_thread_is_moved(allowed):
    ready, end = threading.Event(), threading.Event()
    affinities = []

    def work():
        ready.set()
        end.wait(30)
        affinities.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(30)
    assert affinity.pin(allowed[:1]) == allowed[:1]
    end.set()
    thread.join()
    assert affinities == [{allowed[0]}]
