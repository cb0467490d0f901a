"""The panels of one model and one device."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode

import duckdb
import numpy as np
import pytest
from cellfarm.report import write_report
from cellfarm.report.embedding import packed, packed_numbers

from tests.support import synthetic_warehouse
from tests.support.pages import unpacked

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><!--\u2028&amp;"


def test_packed_data_cannot_end_their_element_and_read_back():
    text = packed({"reason": HOSTILE, "broken": "\ud800"})
    assert re.fullmatch("[A-Za-z0-9+/=]+", text)
    assert json.loads(gzip.decompress(b64decode(text))) == {"reason": HOSTILE, "broken": "?"}
    assert packed({"a": 1}) == packed({"a": 1}), "the same data make the same page"
    numbers = np.array([1.5, 2.25], dtype=np.float32)
    assert np.frombuffer(gzip.decompress(b64decode(packed_numbers(numbers))), "<f4").tolist() == [
        1.5,
        2.25,
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("report")
    warehouse = synthetic_warehouse.create(folder / "w.duckdb", devices=("host", "pi"))
    return write_report(warehouse, folder / "out").read_text()


def test_every_model_and_device_has_a_panel_of_its_own(page):
    subjects = json.loads(unpacked(page, "report"))["subjects"]
    assert set(subjects) == {"model/mobilenet_v2", "model/resnet50", "model/bert_mini",
                             "device/host", "device/pi"}  # fmt: skip
    assert (
        "20 cells" in subjects["model/resnet50"] and "bert_mini" not in subjects["model/resnet50"]
    )
    assert "30 cells" in subjects["device/pi"] and "Synthetic CPU" in subjects["device/pi"]
    for name, panel in subjects.items():
        kind = name.partition("/")[0]
        assert f'id="{kind}-h"' in panel and 'data-name="wins"' in panel


def test_a_name_in_a_panel_is_text(tmp_path):
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, threads=(1,))
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("UPDATE results SET model = ?", [HOSTILE])
    html = write_report(warehouse, tmp_path / "out").read_text()
    (panel,) = (
        text for name, text in json.loads(unpacked(html, "report"))["subjects"].items()
        if name.startswith("model/")
    )  # fmt: skip
    assert "<img" not in panel and "&lt;img" in panel


def test_the_details_are_of_the_cells_in_their_order(page):
    report, details = (json.loads(unpacked(page, name)) for name in ("report", "details"))
    assert len(details["series"]) == len(report["columns"]["key"]) == 60
    assert len(unpacked(page, "samples")) == 4 * sum(
        sum(counts) for series in details["series"] for _, *counts in series
    )
