"""An impossible latency is refused; a possible one never is."""

from __future__ import annotations

import pytest
from cellfarm.analysis.plausibility import fastest_possible_ms, implausible
from hypothesis import given
from hypothesis import strategies as st

SERVER = {"isa": ["avx2", "avx512f", "fma"], "cores": 2}
MOBILENET_V2 = 0.6e9


def test_a_model_that_silently_failed_is_told_by_its_speed():
    """A published benchmark took 0.002 ms for a ResNet-50 that had failed to load."""
    fastest = fastest_possible_ms(8.2e9, {"isa": ["asimd"], "cores": 8}, 4, "fp32", "cpu")
    assert fastest is not None and fastest > 0.002
    reason = implausible([[0.002, 0.0021]], 0.002, fastest)
    assert reason is not None and reason.startswith("implausible: 0.002 ms is less than the")


def test_what_was_really_measured_is_plausible():
    fastest = fastest_possible_ms(MOBILENET_V2, SERVER, 2, "fp32", "cpu")
    assert fastest is not None and fastest < 3.0
    assert implausible([[3.0, 3.1], [3.2, 3.0]], 3.05, fastest) is None


@given(threads=st.integers(1, 64), flops=st.floats(1e3, 1e13))
def test_the_bound_grows_with_the_work_and_shrinks_with_what_helps(threads: int, flops: float):
    def bound(**changes):
        values = {"flops": flops, "facts": {"isa": ["asimd"], "cores": 64}, "threads": threads,
                  "variant": "fp32", "processor": "cpu"} | changes  # fmt: skip
        return fastest_possible_ms(**values)

    assert bound(flops=2 * flops) == pytest.approx(2 * bound())
    assert bound(threads=threads + 1) <= bound()
    assert bound(variant="int8") < bound(variant="fp16") < bound()
    assert bound(facts={"isa": [], "cores": 64}) <= bound()


@pytest.mark.parametrize(
    "changes", [{"flops": None}, {"flops": 0}, {"processor": "gpu"}, {"processor": "npu"}]
)
def test_where_nothing_is_known_nothing_is_refused(changes):
    values = {"flops": 1e9, "facts": SERVER, "threads": 1, "variant": "fp32", "processor": "cpu"}
    assert fastest_possible_ms(**values | changes) is None
    assert implausible([[1.0, 1.1]], 1.0, None) is None


def test_samples_without_any_variance_are_no_measurement():
    reason = implausible([[5.0] * 6, [5.0] * 6], 5.0, None)
    assert reason == "implausible: all 12 samples are the same to the last digit"
    assert implausible([[5.0] * 3], 5.0, None) is None, "a few may agree by chance"
