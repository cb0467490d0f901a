"""Qualcomm's real converter and back end on the HTP simulator, with a model of a few operators."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.records import FILES, RECORD, Record
from cellfarm.devices.local import LocalTransport
from cellfarm.envs.environments import Environment
from cellfarm.experiments.deployed import Deployed
from cellfarm.experiments.payload import pack
from cellfarm.libraries import all_libraries
from cellfarm.measures import all_measures
from cellfarm.measures.operators.profile import read_vocabulary
from cellfarm.planning.causes import payload_code

from tests.support import small_model, steps
from tests.support.small_model import launch_mode

pytestmark = pytest.mark.pipeline
QNN = all_libraries()["qnn"]
VERSION = QNN.default_version
INPUT, OUTPUT = [1, 3, 64, 64], [1, 10]

#: A stem, a depthwise and a pointwise convolution, pooling and a classifier; in the first argument's
#: folder, as the models' worker leaves a model. With a second argument one operator is none of the HTP's.
MAKE = """\
import json, sys, pathlib, numpy as np, onnx, onnxruntime
from onnx import helper, numpy_helper
out, unsupported = pathlib.Path(sys.argv[1]), len(sys.argv) > 2
rng = np.random.default_rng(0)
def weights(name, *shape):
    values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(values.astype(np.float32), name)
nodes = [
    helper.make_node("Conv", ["input", "w0"], ["a"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"], "relu"),
    helper.make_node("Conv", ["b", "w1"], ["c"], "depthwise", group=16, pads=[1, 1, 1, 1]),
    helper.make_node("Conv", ["c", "w2"], ["d"], "pointwise"),
    helper.make_node("Det" if unsupported else "GlobalAveragePool", ["d"], ["e"], "pool"),
    *([helper.make_node("Reshape", ["e", "s"], ["e2"], "reshape")] if unsupported else []),
    helper.make_node("Flatten", ["e2" if unsupported else "e"], ["f"], "flatten"),
    helper.make_node("Gemm", ["f", "w3"], ["logits"], "fc"),
]
inputs_info = [helper.make_tensor_value_info("input", 1, [1, 3, 64, 64])]
outputs_info = [helper.make_tensor_value_info("logits", 1, [1, 10])]
initial = [weights("w0", 16, 3, 3, 3), weights("w1", 16, 1, 3, 3), weights("w2", 32, 16, 1, 1),
           weights("w3", 32, 10), numpy_helper.from_array(np.array([1, 32]), "s")]
graph = helper.make_graph(nodes, "small", inputs_info, outputs_info, initial if unsupported else initial[:-1])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model)
onnx.save(model, out / "model.onnx")
session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
def draw(count):
    return rng.standard_normal((count, 1, 3, 64, 64)).astype(np.float32)
def predict(samples):
    return np.stack([session.run(None, {"input": sample})[0] for sample in samples])
inputs, heldout = draw(1), draw(3)
np.savez(out / "inputs.npz", input=inputs[0])
np.savez(out / "calibration.npz", input=draw(16))
np.savez(out / "heldout.npz", input=heldout)
np.savez(out / "reference.npz", logits=predict(inputs)[0])
np.savez(out / "heldout_reference.npz", logits=predict(heldout))
"""


def environment(purpose: str) -> Environment:
    return small_model.environment(f"qnn@{VERSION}.{purpose}")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Any:
    """The filled folder of a model, on demand with an operator that the HTP lacks."""

    def make(*unsupported: str) -> Path:
        folder: Path = tmp_path_factory.mktemp("model")
        files = folder / FILES
        files.mkdir()
        python = str(environment("convert").python)
        subprocess.run([python, "-c", MAKE, str(files), *unsupported], check=True)
        description = {
            "inputs": [{"name": "input", "shape": INPUT, "dtype": "float32"}],
            "outputs": [{"name": "logits", "shape": OUTPUT, "dtype": "float32"}],
            "parameters": 1000,
            "flops": 1e6,
        }
        (files / "model.json").write_text(json.dumps(description))
        (folder / RECORD).write_text(json.dumps({"status": "ok", "reason": None}))
        return folder

    return make


def convert(model: Path, variant: str, out: Path) -> Record:
    return steps.convert(QNN, variant, model, model, "onnx", out)


@pytest.mark.parametrize(("variant", "least"), [("int8", 0.97), ("fp16", 0.9999)])
def test_what_compiles_for_the_htp_is_verified_there(model, tmp_path, variant, least) -> None:
    filled = model()
    record = convert(filled, variant, tmp_path / "artifact")
    assert (record.status, record.reason) == ("ok", None)
    names = {entry.name for entry in record.files}
    assert names == {"context.onnx", "context_qnn.bin", "model.dlc", "nodes.json"}
    nodes = json.loads((tmp_path / "artifact/files/nodes.json").read_text())
    assert (nodes["stem"], nodes["depthwise"]) == ("Conv", "Conv, depthwise")

    transport = LocalTransport(tmp_path / "work")
    transport.prepare()
    payload = pack(payload_code(QNN, all_measures()), tmp_path / "payloads")
    files = filled / FILES
    transport.put(payload, "payload.pyz")
    transport.put(tmp_path / "artifact/files", "artifact")
    for name in ("inputs.npz", "heldout.npz"):
        transport.put(files / name, name)
    with (
        np.load(files / "reference.npz") as single,
        np.load(files / "heldout_reference.npz") as heldout,
    ):
        reference, heldout_reference = dict(single), dict(heldout)
    deployed = Deployed(
        python=transport.interpreter(environment("run")),
        payload="payload.pyz",
        artifact="artifact",
        inputs="inputs.npz",
        heldout="heldout.npz",
        heldout_reference=heldout_reference,
        description=json.loads((files / "model.json").read_text()),
        input_arrays={},
        reference=reference,
        classes=True,
        variables=QNN.variables,
        vocabulary=read_vocabulary(QNN.vocabulary),
    )
    cell = Cell("small", "qnn", VERSION, variant, "host", "npu", 1)

    def run(mode: str) -> dict[str, Any]:
        return launch_mode(transport, deployed, cell, mode)

    measured = run("measure")
    assert (measured["status"], measured["reason"]) == ("ok", None), measured.get("log")
    assert measured["emulated"] and measured["warm_ms"] == []
    assert measured["actual"]["device"] == "HTP simulator"
    assert measured["library_version"] == VERSION
    assert measured["comparison"]["cosine"] > least
    assert run("quality")["quality"]["cosine"] > least
    if variant == "int8":
        operators = run("profile")["profile"]["operators"]
        assert "depthwise" in {operator["node"] for operator in operators}
        assert all(operator["type"] != "Other" for operator in operators), operators


@pytest.mark.parametrize("variant", ["int8", "fp16"])
def test_what_the_htp_does_not_take_is_unsupported(model, tmp_path, variant) -> None:
    record = convert(model("alien"), variant, tmp_path / "artifact")
    assert record.status == "unsupported", record
    assert "the HTP does not take" in (record.reason or "")
    assert "Det" in (record.reason or "")
