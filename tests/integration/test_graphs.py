"""Reads the graphs of ONNX files, and reports those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.base.records import FILES, RECORD
from cellfarm.selection import graphs
from cellfarm.selection.graphs import Graphs

from tests.support.models_python import CHECKOUT, python
from tests.support.projects import REPOSITORY

#: A free batch, weights transposed before use, attention's product, a constant that is no operator.
MODEL = """
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
def weights(name, *shape):
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)
nodes = [
    helper.make_node("Conv", ["x", "filters"], ["c"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["c"], ["r"]),
    helper.make_node("Reshape", ["r", "shape"], ["rows"]),
    helper.make_node("Transpose", ["matrix"], ["turned"]),
    helper.make_node("MatMul", ["rows", "turned"], ["m"]),
    helper.make_node("Constant", [], ["two"], value=weights("value", 7)),
    helper.make_node("Add", ["m", "two"], ["sum"]),
    helper.make_node("Transpose", ["sum"], ["other"], perm=[0, 2, 1]),
    helper.make_node("MatMul", ["sum", "other"], ["y"]),
]
graph = helper.make_graph(
    nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, sys.argv[2], 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    [weights("filters", 4, 3, 3, 3), weights("matrix", 7, 64),
     numpy_helper.from_array(np.array([-1, 4, 64]), "shape")])
if sys.argv[2].isdigit():
    graph.input[0].type.tensor_type.shape.dim[2].dim_value = int(sys.argv[2])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), sys.argv[1])
"""


def write(file: Path, height: str = "8") -> Path:
    completed = python("models", MODEL, str(file), height)
    assert completed.returncode == 0, completed.stderr[-3000:]
    return file


def test_a_graph_by_hand(tmp_path):
    facts = Graphs(CHECKOUT).of_file(write(tmp_path / "my.onnx"))
    assert facts["macs_by_kind"] == {
        "convolution": 4 * 64 * 27, "linear": 4 * 7 * 64, "attention": 4 * 4 * 7
    }  # fmt: skip
    assert (facts["nodes"], facts["parameters"]) == (7, 4 * 27 + 7 * 64 + 3 + 7)
    assert facts["activations"] == 3 * 256 + 3 * 28 + 16


def test_sizes_left_free_are_said(tmp_path):
    with pytest.raises(UserError, match="input 'x' leaves sizes free"):
        Graphs(CHECKOUT).of_file(write(tmp_path / "free.onnx", "height"))
    with pytest.raises(UserError, match="leaves sizes free"):
        Graphs(CHECKOUT).of_file(REPOSITORY / "tests/data/user_files/hand.onnx")
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"none\.onnx: DecodeError"):
        Graphs(CHECKOUT).of_file(tmp_path / "none.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(UserError, match=r"empty\.onnx: it holds no operators"):
        Graphs(CHECKOUT).of_file(tmp_path / "empty.onnx")


#: Of each: 30 functions, each of which calls the next twice; one that calls itself; sizes below 0, too large.
HOSTILE = """
import onnx
from onnx import TensorProto, helper
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
def function(name, callee):
    nodes = [helper.make_node(callee, [source], [target], domain="own") for source, target in ("ab", "bc")]
    return helper.make_function("own", name, ["a"], ["c"], nodes, opsets)
def save(file, functions, op="Relu", domain="", sizes=(1, 4), weights=()):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in "xy")
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=functions), sys.argv[1] + file)
last = helper.make_function("own", "f30", ["a"], ["c"], [helper.make_node("Relu", ["a"], ["c"])], opsets)
chain = [function(f"f{n}", f"f{n + 1}") for n in range(30)]
save("/bomb.onnx", [*chain, last], "f0", "own")
save("/loop.onnx", [function("f0", "f0")], "f0", "own")
save("/huge.onnx", [], sizes=[1] + [2**40] * 30)
save("/below.onnx", [], weights=[TensorProto(name="w", data_type=1, dims=[-8, 2])])
"""


def test_hostile_files_are_refused(tmp_path):
    completed = python("models", HOSTILE, str(tmp_path))
    assert completed.returncode == 0, completed.stderr[-3000:]
    for name, reason in (
        ("bomb", "its functions unfold to more than 1,000,000 operators"),
        ("loop", "its function 'f0' calls itself"),
        ("huge", "its sizes are those of no model"),
        ("below", "weights have a size below 0"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.onnx: {reason}"):
            Graphs(CHECKOUT).of_file(tmp_path / f"{name}.onnx")


def test_an_export_is_described_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(CHECKOUT.environments))
    (tmp_path / "envs").symlink_to(CHECKOUT.locks)
    project = Project(tmp_path)
    export = project.results / "exports/mine/onnx/0123"
    (export / FILES).mkdir(parents=True)
    write(export / FILES / "model.onnx")
    (export / RECORD).write_text(json.dumps({"status": "ok", "reason": None, "content": "abc"}))
    first = Graphs(project).of_model("mine")
    monkeypatch.setattr(graphs, "fill", None)
    assert Graphs(project).of_models(["mine", "other"]) == {"mine": first}
