"""`snakemake --report`: Snakemake's own report of what was measured."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from cellfarm.report import write_report
from cellfarm.snakemake.running import asks_for_report

from tests.support import synthetic_warehouse
from tests.support.farm import Farm


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        (["snakemake", "--report"], True),
        (["snakemake", "--report=report.zip", "--cores", "1"], True),
        (["snakemake", "--report", "r.html", "--report-after-run"], False),
        (["snakemake", "--report-stylesheet", "s.css"], False),
        (["snakemake", "report"], False),
    ],
)
def test_only_a_report_without_a_run_shows_what_is_there(arguments: list[str], asks: bool) -> None:
    assert asks_for_report(arguments) is asks


def test_it_holds_the_page_and_the_ranking_and_runs_nothing(tmp_path: Path) -> None:
    farm = Farm.create(tmp_path / "farm")
    assert "there is no report yet" in farm.run("--report", "none.zip", code=2).stdout
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1)
    page = write_report(warehouse, farm.root / "reports")
    written = page.stat().st_mtime_ns
    farm.run("--report", "report.zip")
    with ZipFile(farm.root / "report.zip") as archive:
        files = {Path(name).name: name for name in archive.namelist() if "/raw/" in name}
        assert {"index.html", "winners.svg", "latency.svg"} <= set(files)
        assert archive.read(files["index.html"]) == page.read_bytes()
        front = archive.read(
            next(n for n in archive.namelist() if n.endswith("report.html"))
        ).decode()
    assert "measured on devices by cellfarm" in front and "Ranking" in front
    assert page.stat().st_mtime_ns == written
    assert not (farm.root / "results" / "experiments").exists()
