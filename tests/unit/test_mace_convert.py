"""MACE's converter without MACE: a made-up source tree reads the description and prints real output."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import PACKAGE

from tests.support.projects import REPOSITORY

MODEL: dict[str, Any] = {
    "inputs": [{"name": "a", "shape": [1, 3, 8, 8], "dtype": "float32"},
               {"name": "b", "shape": [1, 4], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1, 10], "dtype": "float32"}],
}  # fmt: skip
#: Like MACE's own converter: PyYAML's old call, a check of the model's digest, an output for each model.
CONVERTER = """\
import argparse, hashlib, pathlib, yaml
import helper
parser = argparse.ArgumentParser()
parser.add_argument("--config"); parser.add_argument("--output")
arguments = parser.parse_args()
conf = yaml.load(open(arguments.config).read())
for name, model in conf["models"].items():
    data = open(model["model_file_path"], "rb").read()
    assert hashlib.sha256(data).hexdigest() == model["model_sha256_checksum"]
    pass  # hook
    folder = pathlib.Path(arguments.output, name, "model"); folder.mkdir(parents=True)
    for suffix in ("pb", "data", "pb_txt"):
        (folder / f"{name}.{suffix}").write_text(model["data_type"])
"""


@pytest.fixture
def convert(monkeypatch) -> Any:
    """The module, as the worker loads it; the export needs PyTorch and is left out here."""
    monkeypatch.syspath_prepend(str(PACKAGE / "conversion"))
    sys.modules.pop("mace_convert", None)
    path = PACKAGE / "libraries" / "mace" / "convert.py"
    spec = importlib.util.spec_from_file_location("mace_convert", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_export", lambda source, graph, model: graph.write_bytes(b"onnx"))
    return module


@pytest.fixture
def tree(tmp_path) -> Any:
    """Makes a source tree whose converter runs a line of the test."""

    def make(hook: str = "pass") -> str:
        folder = tmp_path / "a mace" / "tools" / "python"
        folder.mkdir(parents=True)
        (folder / "helper.py").write_text("")
        (folder / "convert.py").write_text(CONVERTER.replace("pass  # hook", hook))
        return str(tmp_path / "a mace")

    return make


def run(convert, tree: str | None, out: Path, **changes: Any) -> list[str]:
    model = MODEL | {"tools": {"source": tree} if tree else {}} | changes
    convert.convert(Path("model.pt"), out, changes.get("variant", "fp32"), model)
    return sorted(path.name for path in out.iterdir())


def test_the_artifact_is_two_files(convert, tree, tmp_path) -> None:
    (out := tmp_path / "out").mkdir()
    assert run(convert, tree(), out) == ["model.data", "model.pb"]
    assert (out / "model.pb").read_text() == "fp32_fp32"


def test_half_precision_is_a_data_type(convert, tree, tmp_path) -> None:
    (out := tmp_path / "out").mkdir()
    run(convert, tree(), out, variant="fp16")
    assert (out / "model.pb").read_text() == "fp16_fp32"


def test_the_description_names_every_input(convert, tmp_path) -> None:
    (graph := tmp_path / "m.onnx").write_bytes(b"onnx")
    description = json.loads(convert.describe(graph, "fp32", MODEL))
    settings = description["models"]["model"]
    assert settings["model_sha256_checksum"] == hashlib.sha256(b"onnx").hexdigest()
    (subgraph,) = settings["subgraphs"]
    assert subgraph["input_tensors"] == ["a", "b"]
    assert subgraph["input_shapes"] == ["1,3,8,8", "1,4"]
    assert subgraph["input_data_formats"] == ["NCHW", "NONE"]
    assert subgraph["output_data_formats"] == ["NONE"]


def test_an_operator_that_it_lacks_is_named(convert, tree, tmp_path) -> None:
    (out := tmp_path / "out").mkdir()
    hook = 'print("ERROR: Mace does not support onnx op type HardSwish yet"); raise SystemExit(1)'
    with pytest.raises(convert.Unsupported, match=r"ONNX operator HardSwish$"):
        run(convert, tree(hook), out)


def test_another_failure_has_its_last_line(convert, tree, tmp_path) -> None:
    (out := tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="code 1: KeyError: 'nothing'"):
        run(convert, tree('raise KeyError("nothing")'), out)


def test_exit_code_0_without_files_is_a_failure(convert, tree, tmp_path) -> None:
    (out := tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match=r"without model\.pb"):
        run(convert, tree("raise SystemExit(0)"), out)


def test_without_a_source_tree_it_says_where_to_give_it(convert, tmp_path) -> None:
    with pytest.raises(convert.Unsupported, match=r"docs/vendor-tools\.md"):
        run(convert, None, tmp_path)
    assert (REPOSITORY / "docs" / "vendor-tools.md").is_file()


def test_a_folder_that_is_no_mace(convert, tmp_path) -> None:
    with pytest.raises(convert.Unsupported, match="no source tree of MACE"):
        run(convert, str(tmp_path), tmp_path)


def test_integers_are_refused_before_anything_is_done(convert, tree, tmp_path) -> None:
    inputs = [{"name": "ids", "shape": [1, 4], "dtype": "int64"}]
    with pytest.raises(convert.Unsupported, match="'ids' is of int64"):
        run(convert, tree(), tmp_path, inputs=inputs)
