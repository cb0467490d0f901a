"""The sentences of the report about a table, and when there are none."""

from __future__ import annotations

from cellfarm.analysis.ranking import rank
from cellfarm.report import findings as report_findings

from tests.support.synthetic_warehouse import row


def findings(rows, ratios=()):
    return report_findings.findings(rows, rank(rows, ratios))


def test_nothing_measured_and_nothing_to_compare():
    assert findings([]) == ["Nothing has been measured yet."]
    assert findings([row("a", 1.0)]) == [
        "Nothing can be compared yet: no model has results that rank from two libraries."
    ]


def test_the_leader_the_ties_and_the_undecided_are_counted():
    rows = [
        *(row("a", 10.0, threads=1), row("b", 20.0, threads=1)),
        *(row("a", 10.0, threads=2), row("b", 20.0, threads=2)),
        *(row("a", 10.0, threads=4), row("b", 10.1, threads=4)),
        *(row("a", 10.0, None, threads=8), row("b", 20.0, None, threads=8)),
    ]
    assert findings(rows)[0] == (
        "a is the fastest in 2 of 4 comparisons (model × threads); 1 ends in a tie; "
        "1 cannot be decided without intervals."
    )
    assert not any("everywhere" in sentence for sentence in findings(rows))


def test_two_leaders_share_and_nobody_wins_everywhere():
    rows = [
        *(row("a", 10.0), row("b", 20.0)),
        *(row("a", 30.0, device="pi"), row("b", 20.0, device="pi")),
    ]
    leaders, wins, *_ = findings(rows)
    assert (
        leaders == "a and b are each the fastest in 1 of 2 comparisons (model × device × threads)."
    )
    assert wins == "No library wins everywhere: a wins 1 and b wins 1."


def test_only_ties_name_no_leader():
    rows = [row("a", 10.0, 1.0), row("b", 10.5, 1.0)]
    assert findings(rows) == [
        "No library is clearly fastest in any of 1 comparison (model × threads); 1 ends in a tie."
    ]


def test_the_spread_is_told_where_it_is_real():
    rows = [
        *(row("a", 10.0), row("b", 20.0)),
        *(row("a", 10.0, model="bert"), row("b", 40.0, model="bert")),
    ]
    assert findings(rows)[1] == (
        "The slowest library takes 2.00× to 4.00× as long as the fastest (median 3.00×); "
        "the gap is widest on bert, 1 thread: a 10.0 ms, b 40.0 ms."
    )


def test_a_wrong_result_that_looks_fastest_is_named():
    rows = [row("a", 10.0), row("b", 20.0), row("c", 1.0, status="wrong")]
    assert findings(rows)[-1] == (
        "In 1 comparison the lowest latency does not count: its result is wrong."
    )


def test_a_win_among_the_few_that_are_not_flagged_says_so():
    rows = [row("ncnn", 5.0), row("mnn", 9.0), row("litert", 6.0, flags=["noisy"])]
    assert not any("take no part" in sentence for sentence in findings(rows))
    rows += [row(name, 6.5, flags=["noisy"]) for name in ("executorch", "onnxruntime")]
    assert findings(rows)[:2] == [
        "ncnn is the fastest in 1 of 1 comparison (model × threads).",
        "3 of 5 correct results are flagged and take no part.",
    ]


def test_nobody_wins_where_a_flagged_result_is_faster():
    rows = [row("ncnn", 5.0), row("mnn", 9.0), row("litert", 4.0, flags=["noisy"])]
    assert findings(rows)[0] == (
        "No library is clearly fastest in any of 1 comparison (model × threads); 1 cannot be decided as a "
        "flagged result is faster."
    )


def test_cold_start_needs_three_cells():
    cold = {"cold_total_ms": 100.0}
    rows = [row("a", 10.0, **cold), row("b", 20.0, **cold)]
    assert not any("cold" in sentence for sentence in findings(rows))
    rows.append(row("c", 50.0, **cold))
    assert any(
        "A cold start takes 5.00× as long" in sentence and "2.00× to 10×" in sentence
        for sentence in findings(rows)
    )


def test_the_gap_is_told_by_ratios_and_other_experiments_are_named():
    rows = [row("a", 10.0, 3.0, key="a"), row("b", 12.0, 3.0, key="b")]
    ratio = {"key": "a", "other_key": "b", "ratio": 1.2, "ratio_ci_low": 1.1,
             "ratio_ci_high": 1.3, "crosses_experiments": True}  # fmt: skip
    assert findings(rows)[0].startswith("No library is clearly fastest")
    first, second, last = findings(rows, [ratio])
    assert first.startswith("a is the fastest in 1 of 1 comparison")
    assert second.startswith("The slowest library takes 1.20× as long as the fastest")
    assert last == (
        "1 comparison is of results from different experiments: those are comparable only "
        "through the calibration load."
    )
