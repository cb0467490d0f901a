"""MNN's variants and its missing GPU, with MNN itself in its own environments."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.project import PACKAGE, Project
from cellfarm.envs.environments import build, locate
from cellfarm.libraries import all_libraries

from tests.support.runner_modules import RUNNER

MNN = all_libraries()["mnn"]
SAMPLES = 8
MODEL = {
    "inputs": [{"name": "x", "shape": [1, 3, 16, 16], "dtype": "float32"}],
    "outputs": [{"name": "y", "shape": [1, 4, 16, 16], "dtype": "float32"}],
}

CONVERT = """
import json, sys
from pathlib import Path
import convert

source, out, model = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
for again in ("", "-again"):
    for variant in ("fp32", "fp16", "int8_weights", "int8"):
        folder = out / (variant + again)
        folder.mkdir(parents=True)
        convert.convert(source, folder, variant, model)
"""

RUN = """
import json, sys
from pathlib import Path
import numpy as np
import backend, profiler

out, model = Path(sys.argv[1]), json.loads(sys.argv[2])
settings = {"threads": 1, "inputs": model["inputs"], "outputs": model["outputs"]}
images = np.load(model["calibration"])["x"]
results, kinds = {}, {}
for variant in ("fp32", "fp16", "int8_weights", "int8"):
    session, outputs = backend.Session(str(out / variant), processor="cpu", **settings), []
    for image in images:
        session.set_inputs([image])
        session.invoke()
        outputs.append(session.get_outputs()[0])
    results[variant] = np.stack(outputs)
    profile = profiler.profile(str(out / variant), processor="cpu", **settings,
                               arrays=[images[0]], runs=1, scratch="")
    kinds[variant] = sorted({operator["type"] for operator in profile["runs"][0]})
try:
    gpu = backend.Session(str(out / "fp32"), processor="gpu", **settings).actual()
except RuntimeError as error:
    gpu = {"error": type(error).__name__, "message": str(error)}
expected = results.pop("fp32")
# Not to standard output: MNN's own messages may come after anything that Python prints.
(out / "found.json").write_text(json.dumps({
    "sqnr_db": {name: float(10 * np.log10((expected**2).sum() / ((output - expected) ** 2).sum()))
                for name, output in results.items()},
    "types": kinds,
    "gpu": gpu,
}))
"""


def number(field: int, value: int) -> bytes:
    """A whole number of a protobuf message."""
    data = b""
    while value > 0x7F:
        data, value = data + bytes([value & 0x7F | 0x80]), value >> 7
    tag = field << 3
    return (number(0, tag)[1:] if tag > 0x7F else bytes([tag])) + data + bytes([value])


def text(field: int, value: bytes | str) -> bytes:
    """A length-delimited field of a protobuf message."""
    value = value.encode() if isinstance(value, str) else value
    length = number(0, len(value))[1:]
    tag = number(0, field << 3 | 2)[1:]
    return tag + length + value


def two_convolutions() -> bytes:
    """An ONNX file: a convolution, a ReLU, a convolution."""
    rng = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> bytes:
        data = rng.normal(0, 0.2, shape).astype("<f4").tobytes()
        sizes = b"".join(number(1, size) for size in shape)
        return text(5, sizes + number(2, 1) + text(8, name) + text(9, data))

    def value(field: int, spec: dict[str, Any]) -> bytes:
        sizes = b"".join(text(1, number(1, size)) for size in spec["shape"])
        kind = text(1, number(1, 1) + text(2, sizes))
        return text(field, text(1, spec["name"]) + text(2, kind))

    def node(kind: str, inputs: str, output: str, attributes: bytes = b"") -> bytes:
        names = b"".join(text(1, name) for name in inputs.split())
        return text(1, names + text(2, output) + text(3, output) + text(4, kind) + attributes)

    def whole(name: str, *values: int) -> bytes:
        return text(5, text(1, name) + b"".join(number(8, v) for v in values) + number(20, 7))

    attributes = whole("kernel_shape", 3, 3) + whole("pads", 1, 1, 1, 1)
    graph = (
        node("Conv", "x w0 b0", "first", attributes)
        + node("Relu", "first", "middle")
        + node("Conv", "middle w1 b1", "y", attributes)
        + text(2, "test")
        + b"".join([tensor("w0", 8, 3, 3, 3), tensor("b0", 8)])
        + b"".join([tensor("w1", 4, 8, 3, 3), tensor("b1", 4)])
        + value(11, MODEL["inputs"][0])
        + value(12, MODEL["outputs"][0])
    )
    return number(1, 8) + text(7, graph) + text(8, number(2, 13))


def run(purpose: str, script: str, *arguments: Path | str) -> str:
    """Run a script in an environment of MNN; returns what it printed."""
    environment = locate(Project.here(), f"mnn@{MNN.default_version}.{purpose}")
    assert build(environment).status == "ok"
    paths = [MNN.folder, PACKAGE / "conversion", RUNNER]
    completed = subprocess.run(
        [str(environment.python), "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of all variants, the model as the converter gets it, and the converter's log."""
    folder = tmp_path_factory.mktemp("mnn")
    (folder / "model.onnx").write_bytes(two_convolutions())
    images = np.random.default_rng(1).normal(size=(SAMPLES, 1, 3, 16, 16)).astype(np.float32)
    np.savez(folder / "calibration.npz", x=images)
    model = json.dumps(MODEL | {"calibration": str(folder / "calibration.npz")})
    log = run("convert", CONVERT, folder / "model.onnx", folder / "out", model)
    return folder / "out", model, log


def test_every_variant_is_one_file_named_after_it(converted):
    out, _, log = converted
    files = {path.parent.name: path.name for path in out.glob("*/*") if "-" not in path.parent.name}
    assert files == {
        "fp32": "model.mnn",
        "fp16": "model.fp16.mnn",
        "int8_weights": "model.int8_weights.mnn",
        "int8": "model.int8.mnn",
    }
    assert "ComputeADMM" in log
    assert not [line for line in log.splitlines() if line.count("%") > 1], "no progress bars"


@pytest.mark.parametrize("variant", MNN.precisions)
def test_a_conversion_gives_the_same_file_again(converted, variant):
    out, _, _ = converted
    (first,), (second,) = ((out / name).iterdir() for name in (variant, f"{variant}-again"))
    assert first.read_bytes() == second.read_bytes()


def test_variants_are_what_they_are_called_and_the_gpu_is_refused(converted):
    out, model, _ = converted
    run("run", RUN, out, model)
    results = json.loads((out / "found.json").read_text())
    assert results["sqnr_db"]["fp16"] > 50
    assert 30 < results["sqnr_db"]["int8_weights"] < 80
    assert 25 < results["sqnr_db"]["int8"] < 80
    assert {"Convolution", "FloatToInt8", "Int8ToFloat"} <= set(results["types"]["int8"])
    for variant in ("fp32", "fp16", "int8_weights"):
        assert not {"FloatToInt8", "Int8ToFloat"} & set(results["types"][variant])
    if "error" in results["gpu"]:
        assert results["gpu"]["error"] == "Unsupported"
        assert "this build has no other" in results["gpu"]["message"]
    else:  # a build with a GPU on a machine with one
        assert not results["gpu"]["provider"].startswith("cpu")
