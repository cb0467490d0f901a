"""Operators across libraries, on hand-made profiles with known answers."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.analysis.operators import Timed, by_type, differences, potentials, shares
from cellfarm.report import potential
from hypothesis import given
from hypothesis import strategies as st

from tests.support.synthetic_warehouse import row

#: Two convolutions, a depthwise one and a fully connected layer in each; APART calls two of them MatMul.
FUSED = [("Conv", 4.0, "first"), ("DepthwiseConv", 2.0), ("Conv", 3.0), ("MatMul", 1.0)]
APART = [("Transpose", 0.5), ("Conv", 2.0), ("Relu", 0.5), ("DepthwiseConv", 3.0, "second"),
         ("MatMul", 5.0), ("MatMul", 0.5), ("Softmax", 0.5)]  # fmt: skip
OTHER = [("Conv", 0.1), ("DepthwiseConv", 0.1), ("MatMul", 0.1)]  # a sequence of its own


def cell(library: str, **more: Any) -> dict[str, Any]:
    return row(library, 10.0, 0.1, **{"key": f"{library}/{sorted(more.items())}", **more})


def timed(operators: list[Any]) -> list[Timed]:
    return [Timed(*operator) for operator in operators]


def profiled(*pairs: tuple[dict[str, Any], list[Any]]) -> tuple[list[Any], Any]:
    return [result for result, _ in pairs], {
        result["key"]: timed(operators) for result, operators in pairs
    }


def test_the_best_of_each_operator_and_what_is_not_matched():
    (comparison,) = potentials(*profiled((cell("ncnn"), FUSED), (cell("litert"), APART)))
    assert (comparison.best, comparison.best_ms) == ("ncnn", 10.0)
    # 2 + 2 + 3 + 0.5 ms of the matched operators. Nothing is added, as ncnn has no other operators.
    assert comparison.composed_ms == pytest.approx(7.5)
    assert comparison.gain == pytest.approx(10 / 7.5)
    assert comparison.unmatched == 0.0 and comparison.wins == {"litert": 2, "ncnn": 2}
    assert [(op.kind, op.node, op.best, op.best_ms) for op in comparison.operators] == [
        ("product", "first", "litert", 2.0), ("depthwise", "second", "ncnn", 2.0),
        ("product", None, "ncnn", 3.0), ("product", None, "litert", 0.5),
    ]  # fmt: skip
    assert comparison.setting["model"] == "resnet50" and comparison.left_out == ()


def test_the_rest_of_the_best_library_is_not_matched():
    (comparison,) = potentials(
        *profiled((cell("ncnn"), [*FUSED, ("Add", 9.0)]), (cell("litert"), APART))
    )
    assert comparison.best == "litert" and comparison.best_ms == pytest.approx(12.0)
    assert comparison.unmatched == pytest.approx(1.5 / 12)
    assert comparison.composed_ms == pytest.approx(9.0)


def test_branches_in_another_order_are_matched_by_their_times():
    ncnn_operators = [("Conv", 1.0), ("Conv", 0.1, "small"), ("Conv", 0.8), ("Conv", 2.0)]
    mnn_operators = [
        ("Conv", 2.0),
        ("Conv", 1.6),
        ("Conv", 0.3),
        ("Conv", 4.0),
    ]  # twice as slow, branches swapped
    (comparison,) = potentials(
        *profiled((cell("ncnn"), ncnn_operators), (cell("mnn"), mnn_operators))
    )
    assert comparison.operators[1].times_ms == {"ncnn": 0.1, "mnn": 0.3}
    assert comparison.wins == {"ncnn": 4} and comparison.gain == pytest.approx(1.0)


def test_operators_that_are_off_by_less_than_twice_stay_in_their_places():
    ncnn_operators = [("Conv", 1.0), ("Conv", 1.5)]
    mnn_operators = [("Conv", 1.5), ("Conv", 1.0)]
    (comparison,) = potentials(
        *profiled((cell("ncnn"), ncnn_operators), (cell("mnn"), mnn_operators))
    )
    assert comparison.composed_ms == pytest.approx(2.0)


def test_an_operator_never_takes_the_place_of_another_kind():
    ncnn_operators = [("Conv", 1.0), ("DepthwiseConv", 9.0)]
    mnn_operators = [("Conv", 9.0), ("DepthwiseConv", 1.0)]
    (comparison,) = potentials(
        *profiled((cell("ncnn"), ncnn_operators), (cell("mnn"), mnn_operators))
    )
    assert comparison.composed_ms == pytest.approx(2.0)


def test_libraries_of_another_sequence_are_left_out_and_named():
    cells, operators = profiled(
        (cell("ncnn"), FUSED),
        (cell("litert"), APART),
        (cell("mnn"), OTHER),
        (cell("mace"), [("Relu", 1.0)]),
    )
    (comparison,) = potentials(cells, operators)
    assert set(comparison.wins) == {"litert", "ncnn"} and comparison.left_out == ("mace", "mnn")
    assert potentials(*profiled((cell("ncnn"), FUSED), (cell("mnn"), OTHER))) == []
    assert potentials(*profiled((cell("ncnn"), FUSED))) == [] and potentials([], {}) == []
    # Two profiles without operators to match are not compared.
    assert (
        potentials(*profiled((cell("ncnn"), [("Relu", 1.0)]), (cell("mnn"), [("Relu", 2.0)]))) == []
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": ["operators_gap"]}, {"flags": ["noisy"]}, {"status": "wrong"}, {"emulated": True},
        {"threads": 2}, {"model": "vgg16"},
    ],
)  # fmt: skip
def test_a_profile_in_doubt_or_of_another_setting_is_not_compared(changes):
    assert potentials(*profiled((cell("ncnn"), FUSED), (cell("litert", **changes), APART))) == []


def test_of_several_versions_the_newest_is_compared():
    old = cell("ncnn", library_version="1.9")
    new = cell("ncnn", library_version="1.10")
    slow = [(kind, 2 * ms) for kind, ms, *_ in FUSED]
    (comparison,) = potentials(*profiled((old, FUSED), (new, slow), (cell("litert"), APART)))
    assert comparison.best == "litert"


kinds = st.lists(
    st.sampled_from(["Conv", "DepthwiseConv", "MatMul", "Add"]), min_size=1, max_size=8
)
milliseconds = st.floats(0.01, 100)


@given(st.data())
def test_a_composition_is_never_slower_than_the_best_library(data):
    sequence = data.draw(kinds)
    pairs = [
        (cell(name), [(kind, data.draw(milliseconds)) for kind in sequence])
        for name in ("a", "b", "c")
    ]
    for comparison in potentials(*profiled(*pairs)):
        assert comparison.gain >= 1 - 1e-9 and 0 <= comparison.unmatched <= 1
        assert comparison.best_ms == min(sum(ms for _, ms in operators) for _, operators in pairs)
        assert comparison.wins.total() == len(comparison.operators) <= len(sequence)


def test_time_by_type_and_its_shares():
    assert next(iter(by_type(timed(APART)).items())) == ("MatMul", 5.5)
    cells, operators = profiled((cell("ncnn"), FUSED), (cell("ncnn", model="vgg16"), OTHER))
    ncnn_shares = shares(cells, operators)["ncnn"]
    assert ncnn_shares["Conv"] == pytest.approx((0.7 + 1 / 3) / 2)
    assert list(ncnn_shares) == ["Conv", "DepthwiseConv", "MatMul"]
    # A type that one profile lacks counts as 0 there.
    cells, operators = profiled((cell("ncnn"), FUSED), (cell("ncnn", model="a"), [("Add", 1.0)]),
                                (cell("ncnn", model="b"), [("Add", 1.0)]))  # fmt: skip
    assert shares(cells, operators)["ncnn"]["Conv"] == 0.0


def test_what_changed_between_two_profiles():
    after = timed([("Conv", 9.0), ("DepthwiseConv", 2.0), ("Gelu", 0.5)])
    changes = differences(timed(FUSED), after)
    assert [(change.type, change.ms) for change in changes] == [
        ("Conv", 2.0), ("MatMul", -1.0), ("Gelu", 0.5), ("DepthwiseConv", 0.0),
    ]  # fmt: skip


def test_the_tables_say_that_it_is_a_bound_and_what_is_not_matched():
    cells, operators = profiled(
        (cell("ncnn"), FUSED), (cell("litert"), APART), (cell("mnn"), OTHER)
    )
    types, bound = potential.tables(cells, operators)
    assert [line[0] for line in types["rows"]] == ["litert", "mnn", "ncnn"]
    assert bound["rows"] == [
        ["resnet50", "fp32 cpu t1 host", "ncnn", "10.0 ms", "7.50 ms", "1.33×", "0.0 %",
         "litert 2, ncnn 2", "mnn"]
    ]  # fmt: skip
    assert "upper bound" in bound["text"] and bound["n"] == "1 comparison"
    assert all(len(line) == len(bound["columns"]) for line in bound["rows"])
    assert potential.tables([], {}) == []
