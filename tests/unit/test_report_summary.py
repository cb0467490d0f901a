"""The table that a run ends with: read from a warehouse, within 100 columns."""

from __future__ import annotations

import os

import duckdb
import pytest
from cellfarm.base.project import Project
from cellfarm.cli import summary
from typer.testing import CliRunner

from tests.support import synthetic_warehouse


@pytest.fixture
def printed(tmp_path, capsys):
    """Returns the printed summary of a synthetic warehouse, after running SQL on it."""
    project = Project(tmp_path)
    project.warehouse.parent.mkdir(parents=True)
    synthetic_warehouse.create(project.warehouse)

    def run(*statements: str, flagged: bool = False) -> str:
        with duckdb.connect(str(project.warehouse)) as connection:
            for statement in statements:
                connection.execute(statement)
        summary.print_summary(project, flagged)
        return capsys.readouterr().out

    return run


def table(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    end = next(
        (number for number in range(start + 1, len(lines)) if " thread" in lines[number]),
        len(lines),
    )
    return lines[start:end]


def test_ratios_and_their_intervals_stand_in_the_table(printed):
    title, header, best, second, *_ = table(printed(), "mobilenet_v2 (fp32, cpu, 1 thread")
    assert title.rstrip() == "mobilenet_v2 (fp32, cpu, 1 thread, host), median latency"
    assert header.split("  ")[-1].strip() == "its 95 % interval"
    assert best.split()[:2] == ["1=", "executorch"]
    assert best.rstrip().endswith("1.00"), "the fastest has no ratio to itself"
    position, name, _, low, _, high, ratio, ratio_low, _, ratio_high = second.split()
    assert (position, name) == ("1=", "mnn")
    assert float(ratio_low) <= 1.0 <= float(ratio_high)
    assert float(ratio_low) <= float(ratio) <= float(ratio_high)
    assert float(low) < float(high)


def test_a_comparison_across_experiments_says_so(printed):
    text = printed()
    crossing = "\n".join(table(text, "bert_mini (fp32, cpu, 1 thread"))
    assert summary.ACROSS in crossing
    assert "executorch*" in crossing
    assert summary.ACROSS not in "\n".join(table(text, "resnet50 (fp32, cpu, 1 thread"))


def test_flagged_cells_rank_when_they_are_asked_for(printed):
    without_flagged = printed()
    assert "noisy, throttled  mobilenet_v2 · onnxruntime@1.24.0" in without_flagged
    assert "cellfarm summary --flagged ranks them" in without_flagged
    with_flagged = printed(flagged=True)
    (line,) = [
        line
        for line in table(with_flagged, "mobilenet_v2 (fp32, cpu, 2 threads")
        if "onnxruntime" in line
    ]
    assert line.rstrip().endswith("noisy, throttled")
    assert "not ranked" not in with_flagged
    assert "rank here, as asked" in with_flagged
    assert "wrong  resnet50 · onnxruntime" in with_flagged, "what is wrong never ranks"


def test_a_page_of_older_results_is_said_to_be_one(printed, tmp_path):
    assert "Report" not in printed()
    page = tmp_path / "reports" / "index.html"
    page.parent.mkdir()
    page.touch()
    assert printed().endswith("Report: reports/index.html\n")
    os.utime(page, (0, 0))
    assert "Report: reports/index.html, older than these results" in printed()


def test_only_flags_that_occur_are_explained(printed):
    text = printed()
    assert "  noisy          1 cell: the launches are spent" in text
    assert "  operators_gap  1 cell: the operators' sum" in text
    assert "low_battery" not in text
    clean = printed("UPDATE results SET flags = []")
    assert "the launches are spent" not in clean
    assert "Flagged cells" not in clean


def test_a_profile_in_doubt_is_explained_and_ranks(printed):
    text = printed("UPDATE results SET flags = ['operators_gap'] WHERE status = 'ok'")
    assert "24 cells" not in text.split("operators_gap")[0]
    assert "Flagged cells" not in text
    assert "not ranked" not in text


def test_without_ratios_latencies_are_compared_and_the_interval_is_not_available(printed):
    lines = table(printed("DELETE FROM cell_ratios"), "resnet50 (fp32, cpu, 1 thread")
    assert lines[3].rstrip().endswith("not available")


def test_every_line_fits_into_100_columns(printed):
    # Reasons are the libraries' own words, of any length.
    for text in (printed("UPDATE results SET reason = 'short'"), printed(flagged=True)):
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


def test_the_option_is_there():
    from cellfarm.cli.main import app

    result = CliRunner().invoke(app, ["summary", "--help"], env={"COLUMNS": "120"})
    assert "--flagged" in result.output
