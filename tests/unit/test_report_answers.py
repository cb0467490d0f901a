"""The report's tables on what the choice of a library is worth."""

from __future__ import annotations

import pytest
from cellfarm.analysis.ranking import rank
from cellfarm.report import data, write_report
from cellfarm.report.answers import MOST_ROWS, answer_sets, answers

from tests.support import synthetic_warehouse
from tests.support.synthetic_warehouse import row


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    path = tmp_path_factory.mktemp("warehouse") / "w.duckdb"
    return synthetic_warehouse.create(path, models=30, devices=("host", "pixel"))


@pytest.fixture(scope="module")
def tables(warehouse):
    measured = data.read(warehouse)
    answer_tables = answers(measured.cells, rank(measured.cells, measured.ratios))
    return {table["id"]: table for table in answer_tables}


def test_every_row_has_every_column_and_every_table_says_how_many(tables):
    assert set(tables) == {"wins", "changes", "gap", "regret", "effects", "front"}
    for table in tables.values():
        assert table["n"] and table["text"]
        assert len(table["rows"]) <= MOST_ROWS
        for line in table["rows"]:
            assert len(line) == len(table["columns"])
            assert all(isinstance(text, str) for text in line)


def test_the_gap_is_told_for_each_device_and_model(tables):
    names = [line[0] for line in tables["gap"]["rows"]]
    assert names[0] == "all" and {"device host", "device pixel", "bert_mini"} <= set(names)


def test_a_long_front_says_that_it_is_cut(tables):
    assert "The first 60 of" in tables["front"]["text"]


def test_tables_that_the_data_do_not_support_are_left_out():
    assert answers([], []) == []
    cells = [row("ncnn", 10.0, key="a", artifact_bytes=None, peak_rss_mb=1, cosine=1)]
    assert answers(cells, rank(cells)) == []


def test_the_page_has_every_table_of_answers(warehouse, tmp_path):
    page = write_report(warehouse, tmp_path).read_text()
    for name in ("wins", "changes", "gap", "regret", "effects", "front"):
        assert f'data-name="{name}"' in page


def test_flagged_results_have_tables_of_their_own_where_they_change_anything():
    def sets(*flags: str):
        cells = [row("ncnn", 10.0, key="a"), row("mnn", 20.0, key="b", flags=[]),
                 row("litert", 80.0, key="c", flags=list(flags))]  # fmt: skip
        table_sets = answer_sets(cells, (rank(cells), rank(cells, flagged=True)))
        return [{table["id"]: table["rows"] for table in tables} for tables in table_sets]

    assert len(sets()) == 1
    without, with_flagged = sets("noisy")
    assert [line[2:] for line in without["gap"]] == [["2.00×", "2.00×", "2.00×"]] * 2
    assert [line[2:] for line in with_flagged["gap"]] == [["2.00×", "8.00×", "8.00×"]] * 2
    assert without["effects"][0][1:] == ["1", "2.00×", "n/a", "2.00×"]
    assert with_flagged["effects"][0][1:] == ["3", "2.00×", "4.00×", "8.00×"]
