"""The back end of TFLite's interpreter, with a stand-in for the library."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
from cellfarm import libraries

FOLDER = libraries.all_libraries()["tflite"].folder


class Interpreter:
    """Two inputs, of which the second is 32-bit integers; the output is their sum, flat."""

    def __init__(self, model_path: str, num_threads: int) -> None:
        self.opened = (model_path, num_threads)
        self.tensors: dict[int, Any] = {}

    def allocate_tensors(self) -> None: ...

    def get_signature_list(self) -> dict[str, Any]:
        return {"serving_default": {"inputs": ["args_1", "args_0"], "outputs": ["output_0"]}}

    def get_signature_runner(self, key: str) -> Any:
        assert key == "serving_default"
        inputs = {
            "args_1": {"index": 7, "dtype": np.int32},
            "args_0": {"index": 4, "dtype": np.float32},
        }
        outputs = {"output_0": {"index": 9, "dtype": np.float32}}
        return types.SimpleNamespace(
            get_input_details=lambda: inputs, get_output_details=lambda: outputs
        )

    def set_tensor(self, index: int, data: Any) -> None:
        self.tensors[index] = data

    def invoke(self) -> None:
        self.tensors[9] = (self.tensors[4] + self.tensors[7]).reshape(-1)

    def get_tensor(self, index: int) -> Any:
        return self.tensors[index].copy()


@pytest.fixture
def backend(monkeypatch) -> Any:
    package, module = types.ModuleType("ai_edge_litert"), types.ModuleType("interpreter")
    module.Interpreter = Interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    spec = importlib.util.spec_from_file_location("tflite_backend", FOLDER / "backend.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


INPUTS = [{"name": "image", "shape": [1, 2], "dtype": "float32"},
          {"name": "ids", "shape": [1, 2], "dtype": "int64"}]  # fmt: skip
OUTPUTS = [{"name": "logits", "shape": [1, 2], "dtype": "float32"}]


def test_inputs_go_to_their_tensors_in_the_model_s_order_and_types(backend):
    session = backend.Session("folder", processor="cpu", threads=3, inputs=INPUTS, outputs=OUTPUTS)
    assert session._interpreter.opened == ("folder/model.tflite", 3)
    session.set_inputs([np.asarray([[1.5, 2.0]]), np.asarray([[10, 20]], dtype=np.int64)])
    assert session._interpreter.tensors[7].dtype == np.int32
    session.invoke()
    (output,) = session.get_outputs()
    assert output.tolist() == [[11.5, 22.0]] and session.actual()["threads"] is None


def test_what_cannot_be_matched_or_is_no_cpu_is_refused(backend):
    with pytest.raises(RuntimeError, match="no processor 'gpu'"):
        backend.Session("x", processor="gpu", threads=1, inputs=INPUTS, outputs=OUTPUTS)
    with pytest.raises(RuntimeError, match="2 tensors in the file, 1 in the model"):
        backend.Session("x", processor="cpu", threads=1, inputs=INPUTS[:1], outputs=OUTPUTS)
    with pytest.raises(RuntimeError, match="no order in a, b"):
        backend._in_order({"a": 1, "b": 2}, INPUTS)
    assert backend._in_order({"ids": 1, "image": 2}, INPUTS) == [2, 1]
