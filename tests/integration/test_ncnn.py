"""ncnn's 8-bit form and its GPU, with ncnn itself in its own environments."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from cellfarm.base.project import PACKAGE, Project
from cellfarm.envs.environments import MODELS_ENVIRONMENT, build, library_environment, locate
from cellfarm.libraries import all_libraries

from tests.support.runner_modules import RUNNER

NCNN = all_libraries()["ncnn"]

#: A small full-precision network with every kind of layer that is quantised.
NETWORK = """\
import sys
import numpy as np, ncnn
from pathlib import Path
from conversion import graph
from conversion.int8 import make_int8
from conversion.quantisation import to_int8, row_scales

rng = np.random.default_rng(0)
full = lambda *shape: bytes(4) + rng.normal(0, 0.2, shape).astype("<f4").tobytes()
plain = lambda *shape: rng.normal(0, 0.2, shape).astype("<f4").tobytes()

def write(folder, text):
    folder.mkdir()
    lines = [line.split() for line in text.strip().splitlines()]
    layers = [graph._parse(" ".join(line)) for line in lines]
    for layer in layers:
        if layer.kind in parts:
            layer.data = parts[layer.kind].pop(0)
    graph.write(layers, folder)

def run(folder, arrays, **options):
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    for name, value in options.items():
        setattr(net.opt, name, value)
    assert net.load_param(str(folder / graph.PARAM)) == 0
    assert net.load_model(str(folder / graph.WEIGHTS)) == 0
    outputs = []
    for array in arrays:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(array[0]).clone())
        outputs.append(np.array(extractor.extract("out0")[1]).ravel().copy())
    return np.stack(outputs)

def sqnr_db(outputs, expected):
    return float(10 * np.log10((expected**2).sum() / ((outputs - expected) ** 2).sum()))

work = Path(sys.argv[1])
"""

IMAGES = """
import json
parts = {
    "Convolution": [full(16, 3, 3, 3) + plain(16), full(32, 16, 1, 1) + plain(32),
                    full(8, 32, 3, 3) + plain(8)],
    "ConvolutionDepthWise": [full(8, 1, 3, 3) + plain(8)],
    "InnerProduct": [full(10, 8) + plain(10)],
}
write(work / "fp32", '''
Input in0 0 1 in0
Convolution c0 1 1 in0 a 0=16 1=3 4=1 5=1 6=432 9=1
Convolution c1 1 1 a b 0=32 1=1 5=1 6=512 9=1
Convolution c2 1 1 b c 0=8 1=3 4=1 5=1 6=2304 9=1
ConvolutionDepthWise d0 1 1 c d 0=8 1=3 4=1 5=1 6=72 7=8 9=1
Pooling pool 1 1 d e 0=1 4=1
InnerProduct fc 1 1 e out0 0=10 1=1 2=80
''')
images = rng.normal(size=(8, 1, 3, 12, 12)).astype(np.float32)
np.savez(work / "calibration.npz", x=images)
(work / "int8").mkdir()
make_int8(work / "fp32", work / "int8", work / "calibration.npz", [{"name": "x"}])

# ncnn quantises full weights itself when it loads a layer that has scales: the same scales here.
before, after = graph.read(work / "fp32"), graph.read(work / "int8")
for old, new in zip(before, after, strict=True):
    if new.params.get(8):
        term = new.integer(8)
        scales = (new.integer(0) + 1 + (term > 100)) * 4
        old.params[8] = new.params[8]
        old.data += new.data[-scales:]
(work / "loaded").mkdir()
graph.write(before, work / "loaded")

expected, outputs = run(work / "fp32", images), run(work / "int8", images)
unfused = graph.read(work / "int8")
for layer in unfused:
    if layer.integer(8) > 100:
        layer.params[8], layer.data = "2", layer.data[:-4]
(work / "unfused").mkdir()
graph.write(unfused, work / "unfused")
print(json.dumps({
    "terms": [layer.params.get(8) for layer in after if layer.data],
    "sqnr_db": sqnr_db(outputs, expected),
    "as_loaded": bool((outputs == run(work / "loaded", images)).all()),
    "unfused_db": sqnr_db(run(work / "unfused", images), outputs),
    "winograd_db": sqnr_db(run(work / "int8", images, use_winograd_convolution=False), outputs),
    "smaller": (work / "int8" / graph.WEIGHTS).stat().st_size
               / (work / "fp32" / graph.WEIGHTS).stat().st_size,
}))
"""

TOKENS = """
import json
parts = {
    "Embed": [full(100, 16)],
    "MultiHeadAttention": [b"".join(full(16, 16) + plain(16) for _ in range(4))],
    "Gemm": [full(16, 24) + full(24)],
}
write(work / "fp32", '''
Input in0 0 1 in0
Embed embed 1 1 in0 a 0=16 1=100 2=0 3=1600
MultiHeadAttention attention 1 1 a b 0=16 1=2 2=256 3=16 4=16
Gemm gemm 1 1 b out0 10=4 2=0 3=0 4=0 5=1 6=1 7=6 8=24 9=16
''')
ids = rng.integers(0, 100, (8, 1, 6)).astype(np.int32)
(work / "int8").mkdir()
make_int8(work / "fp32", work / "int8", work / "none.npz", [{"name": "x"}])
after = graph.read(work / "int8")
print(json.dumps({
    "terms": [layer.params.get(18) for layer in after if layer.data],
    "sqnr_db": sqnr_db(run(work / "int8", ids), run(work / "fp32", ids)),
}))
"""

#: A convolution and, unless left out, an embedding, which ncnn has no shader for.
ON_GPU = """
import backend, json
work = Path(sys.argv[1])
parts = {"Convolution": [full(4, 3, 3, 3) + plain(4)], "Embed": [full(10, 4)]}
write(work / "conv", '''
Input in0 0 1 in0
Convolution c0 1 1 in0 out0 0=4 1=3 4=1 5=1 6=108 9=1
''')
write(work / "embed", '''
Input in0 0 1 in0
Embed e0 1 1 in0 out0 0=4 1=10 2=0 3=40
''')
image = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)

def session(folder, processor):
    shape = {"inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}],
             "outputs": [{"name": "y", "shape": [1, 4, 8, 8], "dtype": "float32"}]}
    return backend.Session(str(work / folder), processor=processor, threads=1, **shape)

def outcome(folder):
    try:
        gpu, cpu = session(folder, "gpu"), session(folder, "cpu")
    except RuntimeError as error:
        return {"error": type(error).__name__, "message": str(error)}
    for run_session in (gpu, cpu):
        run_session.set_inputs([image])
        run_session.invoke()
    return gpu.actual() | {"sqnr_db": sqnr_db(gpu.get_outputs()[0], cpu.get_outputs()[0])}

print(json.dumps({folder: outcome(folder) for folder in ("conv", "embed")}))
"""


def run(purpose: str, script: str, folder: Path, variables: dict[str, str] | None = None) -> Any:
    """Run a script in an environment of ncnn; returns the JSON of its last line."""
    environment = locate(Project.here(), f"ncnn@{NCNN.default_version}.{purpose}")
    assert build(environment).status == "ok"
    paths = [NCNN.folder, PACKAGE / "conversion", RUNNER]
    completed = subprocess.run(
        [str(environment.python), "-c", NETWORK + script, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), **(variables or {})},
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout.strip().splitlines()[-1])


def test_convolutions_in_8_bit_are_what_ncnn_makes_of_the_same_scales(tmp_path):
    results = run("convert", IMAGES, tmp_path)
    # The third is read by a depthwise convolution, which stays in full precision.
    assert results["terms"] == ["102", "102", "2", None, "2"]
    assert results["sqnr_db"] > 25
    assert results["as_loaded"], "bit by bit"
    # Sums are whole numbers, so another order or algorithm changes roundings to 8 bit at most.
    assert results["unfused_db"] > 40
    assert results["winograd_db"] > 60
    assert results["smaller"] < 0.4


def test_a_transformer_in_8_bit_is_near_full_precision(tmp_path):
    results = run("convert", TOKENS, tmp_path)
    assert results["terms"] == ["2", "2", "2"]
    assert results["sqnr_db"] > 30


def test_the_gpu_is_proven_or_refused(tmp_path):
    results = run("run", ON_GPU, tmp_path)
    if "error" in results["conv"]:  # no device here: the next test checks the refusal
        assert "no device" in results["conv"]["message"]
        return
    assert results["conv"]["provider"] == "vulkan"
    assert results["conv"]["device"]
    assert isinstance(results["conv"]["emulated"], bool)
    assert results["conv"]["sqnr_db"] > 60
    assert results["embed"] == {
        "error": "Unsupported",
        "message": "ncnn runs Embed on the CPU, not by Vulkan",
    }


def test_without_a_device_there_is_no_gpu(tmp_path):
    nowhere = str(tmp_path / "none.json")
    settings = {"VK_ICD_FILENAMES": nowhere, "VK_DRIVER_FILES": nowhere}
    results = run("run", ON_GPU, tmp_path, settings)
    assert results["conv"] == {"error": "Unsupported", "message": "ncnn: Vulkan finds no device"}


TRIGRAMS = """
import sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from build_architecture import build
from export_pt2_to_torchscript import handle as export

small = {"vocab_size": 50, "hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 1}
small |= {"num_attention_heads": 2, "intermediate_size": 16, "intra_bottleneck_size": 8}
small |= {"num_feedforward_networks": 2, "initializer_range": 0.2, "attn_implementation": "eager"}
recipe = {
    "task": "encoding",
    "source": "transformers",
    "architecture": "MobileBertModel",
    "arguments": small,
    "weights": {"kind": "random", "seed": 0},
    "inputs": [
        {"name": "input_ids", "shape": [1, 16], "dtype": "int64"}
        | {"content": "tokens", "below": 50}
    ],
    "outputs": ["last_hidden_state"],
}
out = Path(sys.argv[2])
build(recipe, out)
export({"source": out / "model.pt2", "model": out, "out": out})
"""

CONVERTED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import numpy as np, ncnn
from convert import convert

out = Path(sys.argv[3])
inputs = [{"name": "input_ids", "shape": [1, 16], "dtype": "int64"}]
convert(out / "model.torchscript.pt", out, "fp32", {"inputs": inputs})
net = ncnn.Net()
net.load_param(str(out / "model.ncnn.param"))
net.load_model(str(out / "model.ncnn.bin"))
extractor = net.create_extractor()
extractor.input("in0", ncnn.Mat(np.load(out / "inputs.npz")["input_ids"][0].astype("i4")).clone())
output = np.array(extractor.extract("out0")[1])
assert np.allclose(output, np.load(out / "reference.npz")["last_hidden_state"][0], atol=1e-5), output
"""


def test_pads_of_nothing_do_not_make_a_volume_of_a_matrix(tmp_path: Path):
    """MobileBERT concatenates embeddings with shifted copies, padded by [0, 0, 0, 1, 0, 0]."""
    library = str(PACKAGE / "libraries/ncnn")
    for name, script, folders in (
        (MODELS_ENVIRONMENT, TRIGRAMS, [str(PACKAGE / "models")]),
        (
            library_environment("ncnn", NCNN.default_version, "convert"),
            CONVERTED,
            [str(PACKAGE / "conversion"), library],
        ),
    ):
        environment = locate(Project(PACKAGE.parents[1]), name)
        assert build(environment).status == "ok"
        completed = subprocess.run(
            [str(environment.python), "-s", "-c", script, *folders, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr[-3000:]
