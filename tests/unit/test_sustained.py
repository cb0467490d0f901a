"""Throughput under continuous load."""

from __future__ import annotations

import numpy as np
import pytest
from cellfarm.analysis.sustained import settle, throughput
from hypothesis import given
from hypothesis import strategies as st


def test_a_steady_device_keeps_its_burst():
    settled = settle([10.0] * 6000, 5.0)
    assert settled is not None
    assert settled.burst_per_s == pytest.approx(100.0)
    assert (settled.ratio, settled.settled_after_s) == (pytest.approx(1.0), 0.0)


def test_a_device_that_throttles_settles_lower():
    noise = np.random.default_rng(3).normal(1, 0.02, 20_000)
    samples = np.where(np.arange(20_000) < 4_000, 10.0, 16.0) * noise
    settled = settle(list(samples), 5.0)
    assert settled is not None
    assert settled.burst_per_s == pytest.approx(100.0, rel=0.02)
    assert settled.settled_per_s == pytest.approx(62.5, rel=0.02)
    assert settled.ratio == pytest.approx(0.625, rel=0.03)
    assert settled.settled_after_s == pytest.approx(40.0, abs=5.0)


def test_a_slow_decline_is_not_settled_at_its_beginning():
    samples = np.linspace(10, 15, 10_000)
    settled = settle(list(samples), 5.0)
    assert settled is not None and settled.ratio < 0.85 and settled.settled_after_s > 20


def test_too_short_a_load_tells_no_level():
    assert settle([10.0] * 1000, 5.0) is None
    assert settle([], 5.0) is None


@given(ms=st.floats(0.1, 200), window_s=st.floats(0.5, 10), count=st.integers(1, 3000))
def test_throughput_counts_every_inference_of_the_whole_windows(ms, window_s, count):
    rates = throughput([ms] * count, window_s)
    assert len(rates) == int(ms * count / 1e3 / window_s + 1e-9)
    assert np.allclose(rates, 1e3 / ms)
