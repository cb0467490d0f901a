"""The smallest network of each source is built and exported, and both exports give its outputs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.project import PACKAGE
from cellfarm.envs.environments import MODELS_ENVIRONMENT, clean_variables

from tests.support.models_python import interpreter

PICTURE = {"name": "input", "dtype": "float32", "content": "image"}
LAYERS = 2
CACHE = [f"{kind}_{layer}" for layer in range(LAYERS) for kind in ("key", "value")]


def _classifier(source: str, architecture: str, size: int, **arguments: Any) -> dict[str, Any]:
    return {
        "task": "classification",
        "source": source,
        "architecture": architecture,
        "arguments": arguments,
        "inputs": [PICTURE | {"shape": [1, 3, size, size]}],
        "outputs": ["logits"],
    }


RECIPES: dict[str, dict[str, Any]] = {
    "timm": _classifier("timm", "mobileone_s0", 32, num_classes=10),
    "keras": _classifier("keras", "MobileNet", 32, alpha=0.25, classes=10),
    "cellfarm": _classifier("cellfarm", "yolox_tiny", 32, num_classes=4)
    | {"task": "detection", "outputs": ["boxes", "objectness", "classes"]},
    "decoder": {
        "task": "generation",
        "source": "transformers",
        "architecture": "LlamaForCausalLM",
        "arguments": {
            "vocab_size": 50,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "attn_implementation": "eager",
        },
        "inputs": [
            {"name": "input_ids", "shape": [1, 1], "dtype": "int64", "content": "tokens"}
            | {"below": 50},
            *(
                {"name": f"past_{name}", "shape": [1, 2, 5, 8], "dtype": "float32"}
                | {"content": "features"}
                for name in CACHE
            ),
        ],
        "outputs": ["logits", *(f"present_{name}" for name in CACHE)],
    },
    "encoder": {
        "task": "encoding",
        "source": "transformers",
        "architecture": "WhisperModel.encoder",
        "arguments": {
            "num_mel_bins": 8,
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "max_source_positions": 20,
            "attn_implementation": "eager",
        },
        "inputs": [
            {"name": "input_features", "shape": [1, 8, 40], "dtype": "float32"}
            | {"content": "features"}
        ],
        "outputs": ["last_hidden_state"],
    },
}

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy, onnxruntime, torch
from build_architecture import build
import export_pt2_to_onnx, export_pt2_to_torchscript

onnxruntime.set_default_logger_severity(3)
for name, recipe in json.loads(Path(sys.argv[2]).read_text()).items():
    out = Path(name)
    out.mkdir()
    build(recipe | {"weights": {"kind": "random", "seed": 0}}, out)
    for exporter in (export_pt2_to_onnx, export_pt2_to_torchscript):
        exporter.handle({"source": out / "model.pt2", "model": out, "out": out})
    with numpy.load(out / "heldout.npz") as held_out:
        last = {key: array[-1] for key, array in held_out.items()}
    session = onnxruntime.InferenceSession(out / "model.onnx")
    names = [value.name for value in session.get_outputs()]
    numpy.savez(out / "from_onnx.npz", **dict(zip(names, session.run(None, last))))
    script = torch.jit.load(out / "model.torchscript.pt")
    with torch.no_grad():
        results = script(*map(torch.from_numpy, last.values()))
    results = results if isinstance(results, tuple) else (results,)
    arrays = [result.numpy() for result in results]
    numpy.savez(out / "from_torchscript.npz", **dict(zip(recipe["outputs"], arrays)))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of each source, all from one process: imports take most of its time."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "recipes.json").write_text(json.dumps(RECIPES))
    argv = [
        str(interpreter(MODELS_ENVIRONMENT)),
        "-s",
        "-c",
        SCRIPT,
        str(PACKAGE / "models"),
        "recipes.json",
    ]
    completed = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, env=clean_variables()
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_an_export_gives_the_models_outputs(built: Path, name: str, form: str):
    with np.load(built / name / "heldout_reference.npz") as reference:
        expected = {key: array[-1] for key, array in reference.items()}
    with np.load(built / name / f"from_{form}.npz") as actual:
        assert list(actual) == RECIPES[name]["outputs"]
        for key, array in expected.items():
            assert actual[key].shape == array.shape
            # Outputs have magnitude 1: the tolerance allows for other orders of summation in float32.
            np.testing.assert_allclose(actual[key], array, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_samples_are_there_and_differ(built: Path, name: str):
    recipe = RECIPES[name]
    facts = json.loads((built / name / "model.json").read_text())
    assert facts["task"] == recipe["task"]
    shapes = {spec["name"]: spec["shape"] for spec in (*facts["inputs"], *facts["outputs"])}
    sets = {}
    for kind in ("calibration", "heldout", "heldout_reference"):
        with np.load(built / name / f"{kind}.npz") as stored:
            sets[kind] = dict(stored)
        for key, array in sets[kind].items():
            assert list(array.shape) == [16, *shapes[key]]
    for key, array in sets["heldout"].items():
        assert not np.array_equal(array, sets["calibration"][key])
    first = sets["heldout_reference"][recipe["outputs"][0]].reshape(16, -1)
    assert len(np.unique(first, axis=0)) == 16
    if recipe["task"] == "classification":
        assert len(np.unique(first.argmax(axis=1))) > 1
        # A network that ignores its input gives only what all outputs have in common.
        common = np.broadcast_to(first.mean(axis=0), first.shape)
        norms = np.linalg.norm(common) * np.linalg.norm(first)
        assert np.vdot(common, first) / norms < 0.95


def test_a_network_is_exported_as_it_is_deployed(built: Path):
    """The three branches of MobileOne's blocks are one convolution."""
    parameters = json.loads((built / "timm" / "model.json").read_text())["parameters"]
    assert parameters < 1.1e6  # 4.1 million while it is trained


def test_a_detector_ends_with_raw_boxes_and_scores(built: Path):
    outputs = json.loads((built / "cellfarm" / "model.json").read_text())["outputs"]
    assert [output["shape"] for output in outputs] == [[1, 21, 4], [1, 21, 1], [1, 21, 4]]


def test_a_decoder_appends_to_its_cache(built: Path):
    inputs = dict(np.load(built / "decoder" / "inputs.npz"))
    outputs = dict(np.load(built / "decoder" / "reference.npz"))
    for name in CACHE:
        past, present = inputs[f"past_{name}"], outputs[f"present_{name}"]
        assert present.shape == (1, 2, 6, 8)
        np.testing.assert_array_equal(present[:, :, :5], past)


def test_pools_of_keras_translated_are_keras():
    """Uneven edges on both axes, one or none; windows smaller than their steps."""
    script = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, sys.argv[1])
import keras, source_keras, torch
cases = 0
for size in ((7, 8), (8, 8), (9, 7)):
    for pool in (1, 2, 3, 4):
        for strides in (1, 2, 3):
            for padding in ("same", "valid"):
                inputs = keras.Input((*size, 3))
                layer = keras.layers.MaxPooling2D(pool, strides, padding=padding)
                original = keras.Model(inputs, layer(inputs))
                x = -1 - torch.rand(2, 3, *size)  # an edge of zeros would win
                with torch.no_grad():
                    actual = source_keras.translate(original).eval()(x)[0]
                    expected = original(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                assert torch.equal(actual, expected), (size, pool, strides, padding)
                cases += 1
print(cases)
"""
    argv = [str(interpreter(MODELS_ENVIRONMENT)), "-s", "-c", script, str(PACKAGE / "models")]
    completed = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=clean_variables()
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    assert completed.stdout.split() == ["72"]


def test_keras_translated_is_keras(tmp_path: Path):
    """Compares with the same network, run by Keras itself on its PyTorch back end."""
    script = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, sys.argv[1])
import numpy, keras, source_keras, torch
keras.utils.set_random_seed(1)
size = (40, 40, 3)
original = keras.applications.MobileNet(input_shape=size, alpha=0.25, weights=None, classes=10)
rng = numpy.random.default_rng(0)
for layer in original.layers:  # statistics that show in the output
    weights = layer.get_weights()
    layer.set_weights([w + 0.2 * rng.random(w.shape, dtype="float32") for w in weights])
network = source_keras.translate(original).eval()
x = torch.randn(2, 3, 40, 40)
with torch.no_grad():
    actual = network(x)[0]
    expected = original(x.permute(0, 2, 3, 1), training=False)
print(float(actual.std()), float((actual - expected).abs().max()))
"""
    argv = [str(interpreter(MODELS_ENVIRONMENT)), "-s", "-c", script, str(PACKAGE / "models")]
    completed = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False, env=clean_variables()
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    spread, error = map(float, completed.stdout.split())
    assert error < 1e-5 and spread > 1e-3
