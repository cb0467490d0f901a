"""Operators across libraries, on profiles made by hand whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.analysis.operators import Timed, by_type, differences, potentials, shares
from cellfarm.report import potential
from hypothesis import given
from hypothesis import strategies as st

from tests.support.synthetic_warehouse import row

#: Two convolutions, a depthwise one and a fully connected layer in each; one calls two of them MatMul.
FUSED = [("Conv", 4.0, "first"), ("DepthwiseConv", 2.0), ("Conv", 3.0), ("MatMul", 1.0)]
APART = [("Transpose", 0.5), ("Conv", 2.0), ("Relu", 0.5), ("DepthwiseConv", 3.0, "second"),
         ("MatMul", 5.0), ("MatMul", 0.5), ("Softmax", 0.5)]  # fmt: skip
OTHER = [("Conv", 0.1), ("DepthwiseConv", 0.1), ("MatMul", 0.1)]  # a sequence of its own


def of(library: str, **more: Any) -> dict[str, Any]:
    return row(library, 10.0, 0.1, **{"key": f"{library}/{sorted(more.items())}", **more})


def timed(operators: list[Any]) -> list[Timed]:
    return [Timed(*one) for one in operators]


def profiled(*pairs: tuple[dict[str, Any], list[Any]]) -> tuple[list[Any], Any]:
    return [cell for cell, _ in pairs], {cell["key"]: timed(found) for cell, found in pairs}


def test_the_best_of_each_operator_and_what_is_not_matched():
    (found,) = potentials(*profiled((of("ncnn"), FUSED), (of("litert"), APART)))
    assert (found.best, found.best_ms) == ("ncnn", 10.0)
    # 2 + 2 + 3 + 0.5 of the matched ones, and no rest, as one library has none.
    assert found.composed_ms == pytest.approx(7.5) and found.gain == pytest.approx(10 / 7.5)
    assert found.unmatched == 0.0 and found.wins == {"litert": 2, "ncnn": 2}
    assert [(one.kind, one.node, one.best, one.best_ms) for one in found.operators] == [
        ("product", "first", "litert", 2.0), ("depthwise", "second", "ncnn", 2.0),
        ("product", None, "ncnn", 3.0), ("product", None, "litert", 0.5),
    ]  # fmt: skip
    assert found.setting["model"] == "resnet50" and found.left_out == ()


def test_the_rest_of_the_best_library_is_not_matched():
    (found,) = potentials(*profiled((of("ncnn"), [*FUSED, ("Add", 9.0)]), (of("litert"), APART)))
    assert found.best == "litert" and found.best_ms == pytest.approx(12.0)
    assert found.unmatched == pytest.approx(1.5 / 12) and found.composed_ms == pytest.approx(9.0)


def test_branches_in_another_order_are_matched_by_their_times():
    one = [("Conv", 1.0), ("Conv", 0.1, "small"), ("Conv", 0.8), ("Conv", 2.0)]
    two = [
        ("Conv", 2.0),
        ("Conv", 1.6),
        ("Conv", 0.3),
        ("Conv", 4.0),
    ]  # twice as slow, branches swapped
    (found,) = potentials(*profiled((of("ncnn"), one), (of("mnn"), two)))
    assert found.operators[1].times_ms == {"ncnn": 0.1, "mnn": 0.3}
    assert found.wins == {"ncnn": 4} and found.gain == pytest.approx(1.0)


def test_operators_that_are_off_by_less_than_twice_stay_in_their_places():
    one, two = [("Conv", 1.0), ("Conv", 1.5)], [("Conv", 1.5), ("Conv", 1.0)]
    (found,) = potentials(*profiled((of("ncnn"), one), (of("mnn"), two)))
    assert found.composed_ms == pytest.approx(2.0)


def test_an_operator_never_takes_the_place_of_another_kind():
    one, two = [("Conv", 1.0), ("DepthwiseConv", 9.0)], [("Conv", 9.0), ("DepthwiseConv", 1.0)]
    (found,) = potentials(*profiled((of("ncnn"), one), (of("mnn"), two)))
    assert found.composed_ms == pytest.approx(2.0)


def test_libraries_of_another_sequence_are_left_out_and_named():
    cells, operators = profiled(
        (of("ncnn"), FUSED),
        (of("litert"), APART),
        (of("mnn"), OTHER),
        (of("mace"), [("Relu", 1.0)]),
    )
    (found,) = potentials(cells, operators)
    assert set(found.wins) == {"litert", "ncnn"} and found.left_out == ("mace", "mnn")
    assert potentials(*profiled((of("ncnn"), FUSED), (of("mnn"), OTHER))) == []
    assert potentials(*profiled((of("ncnn"), FUSED))) == [] and potentials([], {}) == []
    # Two that have nothing to match are no comparison.
    assert potentials(*profiled((of("ncnn"), [("Relu", 1.0)]), (of("mnn"), [("Relu", 2.0)]))) == []


@pytest.mark.parametrize(
    "more",
    [
        {"flags": ["operators_gap"]}, {"flags": ["noisy"]}, {"status": "wrong"}, {"emulated": True},
        {"threads": 2}, {"model": "vgg16"},
    ],
)  # fmt: skip
def test_a_profile_in_doubt_or_of_another_setting_is_not_compared(more):
    assert potentials(*profiled((of("ncnn"), FUSED), (of("litert", **more), APART))) == []


def test_of_several_versions_the_newest_is_compared():
    old = of("ncnn", library_version="1.9")
    new = of("ncnn", library_version="1.10")
    slow = [(kind, 2 * ms) for kind, ms, *_ in FUSED]
    (found,) = potentials(*profiled((old, FUSED), (new, slow), (of("litert"), APART)))
    assert found.best == "litert"


kinds = st.lists(
    st.sampled_from(["Conv", "DepthwiseConv", "MatMul", "Add"]), min_size=1, max_size=8
)
milliseconds = st.floats(0.01, 100)


@given(st.data())
def test_a_composition_is_never_slower_than_the_best_library(data):
    sequence = data.draw(kinds)
    pairs = [
        (of(name), [(kind, data.draw(milliseconds)) for kind in sequence])
        for name in ("a", "b", "c")
    ]
    for found in potentials(*profiled(*pairs)):
        assert found.gain >= 1 - 1e-9 and 0 <= found.unmatched <= 1
        assert found.best_ms == min(sum(ms for _, ms in operators) for _, operators in pairs)
        assert found.wins.total() == len(found.operators) <= len(sequence)


def test_time_by_type_and_its_shares():
    assert next(iter(by_type(timed(APART)).items())) == ("MatMul", 5.5)
    cells, operators = profiled((of("ncnn"), FUSED), (of("ncnn", model="vgg16"), OTHER))
    found = shares(cells, operators)["ncnn"]
    assert found["Conv"] == pytest.approx((0.7 + 1 / 3) / 2)
    assert list(found) == ["Conv", "DepthwiseConv", "MatMul"]
    # What one profile lacks is 0 in it, not missing.
    cells, operators = profiled((of("ncnn"), FUSED), (of("ncnn", model="a"), [("Add", 1.0)]),
                                (of("ncnn", model="b"), [("Add", 1.0)]))  # fmt: skip
    assert shares(cells, operators)["ncnn"]["Conv"] == 0.0


def test_what_changed_between_two_profiles():
    after = timed([("Conv", 9.0), ("DepthwiseConv", 2.0), ("Gelu", 0.5)])
    found = differences(timed(FUSED), after)
    assert [(one.type, one.ms) for one in found] == [
        ("Conv", 2.0), ("MatMul", -1.0), ("Gelu", 0.5), ("DepthwiseConv", 0.0),
    ]  # fmt: skip


def test_the_tables_say_that_it_is_a_bound_and_what_is_not_matched():
    cells, operators = profiled((of("ncnn"), FUSED), (of("litert"), APART), (of("mnn"), OTHER))
    types, bound = potential.tables(cells, operators)
    assert [line[0] for line in types["rows"]] == ["litert", "mnn", "ncnn"]
    assert bound["rows"] == [
        ["resnet50", "fp32 cpu t1 host", "ncnn", "10.0 ms", "7.50 ms", "1.33×", "0.0 %",
         "litert 2, ncnn 2", "mnn"]
    ]  # fmt: skip
    assert "upper bound" in bound["text"] and bound["n"] == "1 comparison"
    assert all(len(line) == len(bound["columns"]) for line in bound["rows"])
    assert potential.tables([], {}) == []
