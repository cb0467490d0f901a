"""The calibration set in the format of MNN's quantiser, and the names of its 8-bit operators."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from typing import Any

import numpy as np
import pytest
from cellfarm import libraries
from cellfarm.base.project import PACKAGE

FOLDER = libraries.all_libraries()["mnn"].folder


@pytest.fixture
def load(monkeypatch) -> Any:
    """Loads a module of MNN's folder by its path."""
    monkeypatch.syspath_prepend(str(PACKAGE / "conversion"))
    monkeypatch.setitem(sys.modules, "backend", types.ModuleType("backend"))

    def load_module(path: str) -> Any:
        spec = importlib.util.spec_from_file_location("mnn_module", FOLDER / path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_module


def test_samples_are_written_to_the_last_bit(load, tmp_path):
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(3, 1, 2, 4)).astype(np.float32) for name in ("b", "a")}
    values["a"][0, 0, 0, :3] = [1e-38, -3.4e38, 1 / 3]
    np.savez(tmp_path / "calibration.npz", **values)
    inputs = [{"name": name, "shape": [1, 2, 4], "dtype": "float32"} for name in ("a", "b")]
    path = load("conversion/int8.py").write_samples(tmp_path, tmp_path / "calibration.npz", inputs)
    config = json.loads(path.read_text())
    assert config["used_sample_num"] == 3
    assert config["inputs"] == [{"name": n, "shape": [1, 2, 4]} for n in ("a", "b")]
    assert config["path"].endswith("/")
    for position in range(3):
        for name in ("a", "b"):
            text = tmp_path / "samples" / f"{position:04}" / f"{name}.txt"
            sample = np.array(text.read_text().split(), np.float32)
            assert (sample == values[name][position].ravel()).all()


def test_inputs_that_are_no_floats_are_refused_by_name(load, tmp_path):
    module = load("conversion/int8.py")
    inputs = [{"name": "input_ids", "shape": [1, 8], "dtype": "int64"}]
    with pytest.raises(module.Unsupported, match="the input input_ids is int64"):
        module.write_samples(tmp_path, tmp_path / "none.npz", inputs)


@pytest.mark.parametrize("kind", ["Convolution", "Convolution [ DT_INT8 ] "])
def test_an_operator_has_its_type_whatever_its_numbers(load, kind):
    assert load("profiler.py")._operator("conv2d", kind, 0, 1)["type"] == "Convolution"
