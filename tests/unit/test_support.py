"""The table of which models run in which libraries, from rows of the warehouse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cellfarm.cli.support import as_markdown, counts, reasons, tables, totals


def row(model: str, library: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "model": model, "library": library, "library_version": "1.0", "variant": "fp32",
        "processor": "cpu", "status": status, "reason": None if status == "ok" else "because",
        "cosine": 1.0, "heldout_cosine": None, "sqnr_db": None, "emulated": False,
        "device": "host", "measured_at": datetime(2026, 1, 2, tzinfo=UTC),
    } | more  # fmt: skip


def test_models_by_libraries_with_what_was_not_measured():
    rows = [row("a", "ncnn"), row("b", "ncnn", "unsupported"), row("b", "mnn")]
    ((title, libraries, lines),) = tables(rows)
    assert (title, libraries) == ("fp32, cpu", ["mnn@1.0", "ncnn@1.0"])
    assert lines == [("a", ["-", "ok"]), ("b", ["ok", "unsupported [1]"])]
    assert counts(lines) == ["1 of 1", "1 of 2"]
    assert reasons(rows) == ["[1] ncnn, unsupported: because (1)"]


def test_the_worst_of_several_settings_stands_there_and_says_how_far_off():
    rows = [row("a", "mnn"), row("a", "mnn", "wrong", heldout_cosine=0.6241)]
    assert tables(rows)[0][2] == [("a", ["wrong cosine 0.624 [1]"])]
    assert totals(rows) == "2 cells: 1 ok, 1 wrong"


def test_variants_and_processors_have_tables_of_their_own_and_emulation_is_told():
    rows = [row("a", "qnn", variant="int8", processor="npu", emulated=True), row("a", "mnn")]
    assert [title for title, _, _ in tables(rows)] == ["fp32, cpu", "int8, npu"]
    assert tables(rows)[1][2] == [("a", ["ok (emulated)"])]


def test_the_same_reason_is_told_once():
    rows = [row("a", "mnn", "failed"), row("b", "mnn", "failed")]
    assert reasons(rows) == ["[1] mnn, failed: because (2)"]


def test_markdown_has_a_line_per_model():
    text = as_markdown([row("a", "mnn"), row("b", "mnn", "timeout")])
    assert "of a run on host (2026-01-02)" in text and "| **ok** | 1 of 2 |" in text
    assert "| a | ok |" in text and "| b | timeout [1] |" in text
    assert "- \\[1] mnn, timeout: because (1)" in text


def test_no_results_are_no_tables():
    assert tables([]) == [] and totals([]) == "0 cells: none"
