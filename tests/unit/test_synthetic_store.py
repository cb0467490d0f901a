"""cellfarm takes the made-up results of the benchmarks for results."""

from __future__ import annotations

from pathlib import Path

from cellfarm.store.results import Store, read_header
from cellfarm.warehouse import connect, load

from benchmarks.synthetic_store import MEASURES, TINY, Size, SyntheticStore


def test_synthetic_results_load_with_as_many_cells_and_samples_as_their_size_says(
    tmp_path: Path,
) -> None:
    synthetic = SyntheticStore(tmp_path / "cells", TINY)
    keys = {key for results in synthetic.current.values() for key in results.values()}
    assert {read_header(path)["key"] for path in synthetic.store.files()} == keys
    warehouse = tmp_path / "w.duckdb"
    loaded = load(warehouse, Store(tmp_path / "cells"), synthetic.current, synthetic.devices)
    assert (loaded.added, loaded.unreadable) == (len(MEASURES) * TINY.cells, [])
    with connect(warehouse) as connection:
        counts = connection.sql(
            "SELECT (SELECT count(*) FROM cells), (SELECT count(*) FROM samples WHERE phase = 'warm'), "
            "(SELECT count(*) FROM ratios WHERE NOT crosses_experiments)"
        ).fetchall()
    assert counts == [(TINY.cells, TINY.samples, TINY.cells)]
    synthetic.add_one()
    assert load(warehouse, synthetic.store, synthetic.current, synthetic.devices).added == len(
        MEASURES
    )


def test_what_cannot_run_has_no_samples(tmp_path: Path) -> None:
    synthetic = SyntheticStore(
        tmp_path / "cells", Size(models=4, libraries=10, devices=1, launches=2)
    )
    load(tmp_path / "w.duckdb", synthetic.store, synthetic.current, synthetic.devices)
    with connect(tmp_path / "w.duckdb") as connection:
        rows = connection.sql(
            "SELECT status, count(*), count(samples) FROM cells GROUP BY 1 ORDER BY 1"
        )
        assert rows.fetchall() == [("ok", 39, 39), ("unsupported", 1, 0)]
