"""The store holds whole results or none, and reads headers without the rest."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.files import write_atomically
from cellfarm.store import results as store_module
from cellfarm.store.results import Store, read_header, render
from hypothesis import given
from hypothesis import strategies as st

from tests.support.disks import fill, tiny_disk
from tests.support.results import make_cell

WORKFLOW = Path(store_module.__file__).parents[2]
CELL = make_cell()
HEADER = {"key": "k", "cell": CELL.as_dict(), "status": "ok"}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]


def test_a_committed_result_is_found_under_its_cell_and_key(tmp_path):
    store = Store(tmp_path)
    assert not store.has(CELL, "latency", "k")
    path = store.commit(CELL, "latency", "k", HEADER, {"launches": [1, 2]})
    assert store.has(CELL, "latency", "k") and not store.has(CELL, "latency", "other")
    assert not store.has(CELL, "quality", "k")
    stamps = store.stamps(CELL, {"latency": "k", "quality": "k"})
    assert stamps == {"latency": path.stat().st_mtime_ns, "quality": 0}
    assert path.relative_to(tmp_path).as_posix() == (
        "host/ncnn@1.0/squeezenet1_1/fp32-cpu-t1/latency-k.json"
    )
    assert json.loads(path.read_text()) == HEADER | {"launches": [1, 2]}
    assert store.header(CELL, "latency", "k") == HEADER
    assert leftovers(tmp_path) == []


def test_cells_do_not_share_a_folder():
    cells = [CELL, make_cell(threads=11), make_cell(threads=1, variant="int8"), make_cell(device="d"),
             make_cell(processor="gpu"), make_cell(model="m"), make_cell(library_version="2")]  # fmt: skip
    assert len({cell.folder for cell in cells}) == len(cells)


def test_a_full_disk_leaves_no_result_and_nothing_else(tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        store = Store(disk)
        before = store.commit(CELL, "latency", "before", HEADER, {"launches": []}).read_bytes()
        ballast = fill(disk)
        for body in ({"launches": ["x" * 200_000]}, {"launches": ["x" * 50]}):
            with pytest.raises(OSError) as error:
                store.commit(CELL, "latency", "k", HEADER, body)
            assert error.value.errno == errno.ENOSPC
        assert not store.has(CELL, "latency", "k")
        assert list(store.files()) == [store.path(CELL, "latency", "before")]
        assert leftovers(disk) == [ballast]
        ballast.unlink()
        store.commit(CELL, "latency", "k", HEADER, {"launches": []})  # there is room again
        assert store.path(CELL, "latency", "before").read_bytes() == before


def test_a_failed_overwrite_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def report_full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", report_full_disk)
    with pytest.raises(OSError):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


COMMIT_FOREVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cellfarm.base.cells import Cell
from cellfarm.store.results import Store
store = Store(Path(sys.argv[2]))
cell = Cell("m", "l", "1", "fp32", "host", "cpu", 1)
number = 0
while True:
    store.commit(cell, "latency", f"k{number}", {"key": f"k{number}"}, {"ms": [number + 0.5] * 40_000})
    number += 1
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_no_torn_result(tmp_path):
    for attempt in range(3):
        root = tmp_path / str(attempt)
        argv = [sys.executable, "-c", COMMIT_FOREVER, str(WORKFLOW), str(root)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.01 * attempt)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        paths = list(Store(root).files())
        assert paths
        for path in paths:
            document = json.loads(path.read_text())
            assert f"latency-{document['key']}" == path.stem and len(document["ms"]) == 40_000


#: JSON text with characters that could be taken for the end of the header line.
TEXT = st.text(max_size=30) | st.sampled_from(
    ["\n", "},\n{", "\r\n", "\u2028", "\x85", ",", "}", '"', "\\", "🦊", "\x00", '"},']
)
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXT, VALUES, min_size=1, max_size=5)


@given(header=OBJECTS, body=OBJECTS, key=TEXT)
def test_header_and_body_survive_any_text(tmp_path_factory, header, body, key):
    path = tmp_path_factory.getbasetemp() / "result.json"
    header = header | {"key": key}
    body = {name: value for name, value in body.items() if name not in header} or {"body": 0}
    path.write_text(render(header, body), encoding="utf-8", newline="")
    assert read_header(path) == header
    assert json.loads(path.read_text(encoding="utf-8")) == header | body


def test_half_a_surrogate_pair_can_be_committed(tmp_path):
    store = Store(tmp_path)
    reason = "cannot open 'weights-\udcff.bin'"
    path = store.commit(CELL, "latency", "k", HEADER | {"reason": reason}, {"log": reason})
    assert store.header(CELL, "latency", "k")["reason"] == "cannot open 'weights-\ufffd.bin'"
    assert json.loads(path.read_text(encoding="utf-8"))["log"] == "cannot open 'weights-\ufffd.bin'"


def test_values_that_are_not_json_are_refused(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ValueError):
        store.commit(CELL, "latency", "k", HEADER, {"ms": [float("nan")]})
    assert list(store.files()) == []


NO_RESULTS = ["", "not json\n", "[1, 2]\n", '{"cell": 1,\n}', '{"key": "k', "\x00" * 64]


@pytest.mark.parametrize("text", NO_RESULTS)
def test_what_is_no_result_says_so(tmp_path, text):
    path = tmp_path / "k.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_header(path)


def test_a_header_is_read_without_the_body(tmp_path):
    path = tmp_path / "k.json"
    path.write_text(render(HEADER, {"launches": []}).splitlines()[0] + "\n" + "torn body")
    assert read_header(path) == HEADER


def test_set_aside_makes_room_and_keeps_everything(tmp_path):
    store = Store(tmp_path)
    for number in (1, 2):
        store.commit(CELL, "latency", "k", HEADER | {"number": number}, {"launches": []})
        aside = store.set_aside(store.path(CELL, "latency", "k"))
        assert aside.name == f"latency-k.superseded-{number}.json"
        assert not store.has(CELL, "latency", "k")
    store.commit(CELL, "latency", "k", HEADER | {"number": 3}, {"launches": []})
    assert sorted(read_header(path)["number"] for path in store.files()) == [1, 2, 3]


def test_files_are_all_results_and_nothing_that_is_being_written(tmp_path):
    store = Store(tmp_path)
    assert list(store.files()) == []
    expected = {
        store.commit(cell, "latency", "k", HEADER, {"b": 1})
        for cell in (CELL, make_cell(threads=2))
    }
    (store.path(CELL, "latency", "k").parent / ".k2.json.123.tmp").write_text("{")
    (store.path(CELL, "latency", "k").parent / ".hidden.json").write_text("{")
    assert set(store.files()) == expected


def test_older_results_come_newest_last(tmp_path):
    store = Store(tmp_path)
    assert store.older(CELL, "latency") == []
    for age_s, key in ((30, "middle"), (60, "old"), (1, "new")):
        path = store.commit(CELL, "latency", key, HEADER, {"b": 1})
        os.utime(path, (time.time() - age_s,) * 2)
    store.commit(CELL, "quality", "other", HEADER, {"b": 1})
    assert [path.stem for path in store.older(CELL, "latency")] == [
        "latency-old", "latency-middle", "latency-new",
    ]  # fmt: skip
    assert store.older(make_cell(threads=7), "latency") == []


def test_other_versions_are_those_of_the_same_setting(tmp_path):
    store = Store(tmp_path)
    store.commit(make_cell(library_version="0.9"), "latency", "k", HEADER, {"b": 1})
    assert store.other_versions(CELL)
    assert not store.other_versions(make_cell(threads=2))
    assert not store.other_versions(make_cell(library="mnn"))
    assert not store.other_versions(make_cell(device="phone"))
