"""Shares of time by kind of work, where costs are known."""

from __future__ import annotations

import numpy as np
import pytest
from cellfarm.selection.shares import TypicalCosts
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

#: Multiply-adds and operators of four models; the third kind of work costs nothing.
WORK = np.array([[1e9, 10.0, 7.0], [2e9, 50.0, 1.0], [1e8, 90.0, 3.0], [5e8, 30.0, 9.0]])
COSTS_MS = np.array([2e-8, 0.1, 0.0])


def test_costs_that_are_known_are_found():
    costs = TypicalCosts(WORK, WORK @ COSTS_MS, ["host"] * 4)
    # 20 ms of 21, 40 of 45, 2 of 11, 10 of 13.
    assert costs.shares(WORK)[:, 0] == pytest.approx([20 / 21, 40 / 45, 2 / 11, 10 / 13])
    assert costs.shares(WORK)[:, 2] == pytest.approx(0, abs=1e-9)


def test_a_slower_device_has_the_same_shares():
    work = np.vstack([WORK, WORK])
    factors = np.repeat([1.0, 7.0], 4)
    costs = TypicalCosts(work, factors * (work @ COSTS_MS), ["host"] * 4 + ["pi"] * 4)
    assert costs.shares(WORK)[:, 0] == pytest.approx([20 / 21, 40 / 45, 2 / 11, 10 / 13])


def test_work_that_no_example_has_takes_no_share():
    costs = TypicalCosts(WORK * [1, 1, 0], WORK @ COSTS_MS, ["host"] * 4)
    ((known, *_, new),) = costs.shares(np.array([[1e9, 0.0, 5.0]]))
    assert (known, new) == (pytest.approx(1), 0)
    assert costs.shares(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


@given(
    arrays(float, (5, 3), elements=st.floats(0, 1e9)),
    arrays(float, 5, elements=st.floats(1e-3, 1e5)),
    st.lists(st.sampled_from("ab"), min_size=5, max_size=5),
)
def test_shares_are_shares(work, latencies_ms, devices):
    costs = TypicalCosts(work, latencies_ms, devices)
    shares = costs.shares(work)
    assert (shares >= 0).all()
    sums = shares.sum(axis=1)
    assert np.logical_or(np.isclose(sums, 1), sums == 0).all()
