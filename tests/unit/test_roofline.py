"""Operations against time on hand-made cells, and how the peak of a device is measured and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cellfarm.analysis.roofline import Roof, Size, scalings, spots
from cellfarm.base.files import read_object
from cellfarm.base.project import Project
from cellfarm.experiments import peak
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.report import compute
from cellfarm.warehouse import surroundings
from hypothesis import given
from hypothesis import strategies as st

from tests.support.protocols import protocol_of
from tests.support.results import FACTS
from tests.support.synthetic_warehouse import row

#: 100 GFLOP/s above 5 operations per byte.
ROOF = Roof(gflops=100.0, gb_s=20.0)
ROOFS = {("host", 1): ROOF}
SIZES = {"big": Size(1_000_000, 2_000_000_000), "small": Size(10, 1_000_000), "none": Size(5, None)}


def make_cell(ms: float, **changes: Any) -> dict[str, Any]:
    columns = {"model_id": "big", "artifact_bytes": 4_000_000, "key": "k", "label": "ncnn"}
    return row("ncnn", ms, 0.1) | columns | changes


def test_a_roof_is_the_copy_below_the_ridge_and_the_product_above_it():
    assert [ROOF.attainable_gflops(intensity) for intensity in (1.0, 5.0, 50.0)] == [
        20.0,
        100.0,
        100.0,
    ]


def test_what_a_cell_reaches():
    (spot,) = spots([make_cell(40.0)], SIZES, ROOFS)
    # 2 GFLOP in 40 ms; 500 operations per byte, so the product bounds it.
    assert (spot.gflops, spot.intensity) == (50.0, 500.0) and spot.share == pytest.approx(0.5)
    (spot,) = spots([make_cell(1.0, model_id="small", artifact_bytes=1_000_000)], SIZES, ROOFS)
    assert spot.gflops == 1.0 and spot.share == pytest.approx(1 / 20)  # the copy bounds it


@pytest.mark.parametrize(
    "changes", [{"variant": "int8"}, {"threads": 2}, {"artifact_bytes": None}, {"device": "board"}]
)
def test_without_a_roof_of_its_own_a_cell_has_no_share(changes):
    (spot,) = spots([make_cell(40.0, **changes)], SIZES, ROOFS)
    assert spot.gflops == 50.0 and spot.share is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "none"}, {"model_id": "unheard of"}, {"model_id": None}, {"processor": "gpu"},
        {"status": "wrong"}, {"flags": ["noisy"]}, {"emulated": True},
    ],
)  # fmt: skip
def test_what_does_not_rank_or_has_no_operations_is_not_there(changes):
    assert spots([make_cell(40.0, **changes)], SIZES, ROOFS) == []


def test_rank_correlations_of_latency_with_size():
    sizes = {
        str(number): Size(parameters=100 - number, flops=1000 * number) for number in range(1, 6)
    }
    cells = [
        make_cell(float(number), model_id=str(number), model=f"m{number}") for number in range(1, 6)
    ]
    (scaling,) = scalings(spots(cells, sizes, ROOFS))
    assert scaling.models == 5
    assert (scaling.by_flops, scaling.by_parameters) == pytest.approx((1.0, -1.0))
    assert scaling.gflops == pytest.approx(1e-3) and scaling.library == "ncnn 1.0"
    (few_models,) = scalings(spots(cells[:3], sizes, {}))
    assert few_models.by_flops is None and few_models.best_share is None
    equal_sizes = {name: Size(7, size.flops) for name, size in sizes.items()}
    (constant,) = scalings(spots(cells, equal_sizes, ROOFS))
    assert constant.by_parameters is None and constant.by_flops == pytest.approx(1.0)


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.floats(1e-3, 1e6))
def test_no_roof_is_above_either_bound(gflops, gb_s, intensity):
    attainable = Roof(gflops, gb_s).attainable_gflops(intensity)
    assert attainable <= gflops and attainable <= intensity * gb_s * (1 + 1e-12)


def test_the_table_and_the_figure_say_what_the_bounds_are():
    points = spots(
        [make_cell(40.0), make_cell(20.0, library="mnn", label="mnn", key="m")], SIZES, ROOFS
    )
    (table,) = compute.tables(points)
    assert table["rows"][0] == ["mnn 1.0", "fp32 cpu t1 host standard", "1", "n/a", "n/a", "100",
                                "100 %"]  # fmt: skip
    assert "lower bound" in table["text"]
    figures = compute.figures(points, ROOFS, ["mnn", "ncnn"])
    assert list(figures) == ["roofline--host-t1"]
    text = json.dumps(figures)
    assert "numpy" in text and "lower bounds of the hardware" in text
    assert compute.tables([]) == [] and compute.figures(points, {}, ["mnn", "ncnn"]) == {}


class Transport:
    """This machine without a work folder. It returns a given answer, or runs the load."""

    variables: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, answer: str | None = None) -> None:
        self.answer, self.files, self.requests = answer, {}, []

    def put(self, source: Path, name: str) -> bool:
        self.files[name] = source
        return True

    def resolve(self, name: str) -> str:
        return str(self.files[name])

    def run(self, argv: Any, *, stdin: bytes, variables: Any, on_line: Any, **more: Any) -> Any:
        self.requests.append((json.loads(stdin), dict(variables)))
        if self.answer is None:
            completed = subprocess.run(argv, input=stdin, capture_output=True, check=True,
                                       env={**variables, "CELLFARM_SPAWNED_NS": "0"})  # fmt: skip
            on_line(completed.stdout.decode())
        else:
            on_line(self.answer)
        return SimpleNamespace(code=0, timed_out=False, log="")


def setting(transport: Any) -> Setting:
    return Setting(transport, protocol_of(), lock=0)


def deployed() -> Deployed:
    python: Any = SimpleNamespace(argv=(sys.executable,), variables={})
    return Deployed(
        python=python, payload="x", artifact="x", inputs="x", description={}, input_arrays={}, reference={},
        classes=True, variables={"OWN": "1"},
    )  # fmt: skip


def patient(call: Any) -> Any:
    return call()


READING = json.dumps({"gflops": 50.0, "gb_s": 10.0, "method": "numpy"})


def test_the_load_itself_gives_positive_numbers_and_says_how():
    reading = peak.measure(setting(Transport()), deployed(), 1, None)
    assert reading["gflops"] > 0 and reading["gb_s"] > 0
    assert reading["method"].startswith("numpy ") and "float32" in reading["method"]


def test_a_device_is_asked_for_each_number_of_threads_a_few_times_only(tmp_path):
    transport, path, notes = Transport(READING), tmp_path / "host.peak.json", []
    by_threads = {1: deployed(), 2: deployed()}
    for _ in range(peak.ENOUGH + 2):
        peak.measure_missing(path, setting(transport), FACTS, by_threads, patient, notes.append)
    assert len(transport.requests) == 2 * peak.ENOUGH and notes == []
    request, variables = transport.requests[1]
    assert request == {"threads": 2, "cores": None}
    assert (variables["OPENBLAS_NUM_THREADS"], variables["OWN"]) == ("2", "1")
    assert not path.with_name(f".{path.name}").exists()


def test_the_best_reading_is_kept_and_another_system_is_another_device(tmp_path):
    path = tmp_path / "host.peak.json"
    for gflops, gb_s in ((40.0, 12.0), (50.0, 10.0)):
        peak.add(path, FACTS, 1, {"gflops": gflops, "gb_s": gb_s, "method": "numpy"})
    best = peak.with_peak(path, FACTS)["peak"]["1"]
    assert (best["gflops"], best["gb_s"], best["readings"]) == (50.0, 12.0, 2)
    other_facts = {**FACTS, "kernel": "6.2"}
    assert peak.with_peak(path, other_facts) == other_facts
    assert peak.missing(path, other_facts, [1]) == [1]
    peak.add(path, other_facts, 1, {"gflops": 1.0, "gb_s": 1.0, "method": "numpy"})
    assert peak.with_peak(path, other_facts)["peak"]["1"]["gflops"] == 1.0


@pytest.mark.parametrize(
    "answer",
    ["", "nonsense", "[]", "null", '{"gflops": 1}', '{"gflops": 0, "gb_s": 1}', '{"gflops": -1, "gb_s": 1}',
     '{"gflops": NaN, "gb_s": 1}', '{"gflops": "1", "gb_s": true}'],
)  # fmt: skip
def test_what_is_no_reading_is_noted_and_not_kept(tmp_path, answer):
    path, notes = tmp_path / "host.peak.json", []
    peak.measure_missing(
        path, setting(Transport(answer)), FACTS, {1: deployed()}, patient, notes.append
    )
    assert len(notes) == 1 and not path.exists() and peak.with_peak(path, FACTS) == FACTS


def test_an_emulated_device_has_no_peak(tmp_path):
    assert peak.missing(tmp_path / "x.json", {**FACTS, "emulated": True}, [1]) == []


def test_the_warehouse_is_told_of_peaks_and_of_models(tmp_path):
    project = Project(tmp_path)
    peak.add(project.peak("host"), FACTS, 1, {"gflops": 5.0, "gb_s": 2.0, "method": "numpy"})
    devices = surroundings.devices(project, {"host": FACTS, "board": FACTS})
    assert devices["host"]["peak"]["1"]["gflops"] == 5.0 and devices["board"] == FACTS
    for name, text in (("a/1", '{"parameters": 3, "flops": 4}'), ("a/2", "{}"), ("b/3", "torn")):
        folder = project.results / "models" / name / "files"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(text)
    assert list(surroundings.models(project)) == [
        {"id": "1", "model": "a", "parameters": 3, "flops": 4},
        {"id": "2", "model": "a", "parameters": None, "flops": None},
        {"id": "3", "model": "b", "parameters": None, "flops": None},
    ]
    assert read_object(project.peak("host"))["threads"]["1"]["readings"] == 1
