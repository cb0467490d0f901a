"""A small Keras model through TensorFlow's real converter, with the program's weights."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.project import PACKAGE
from cellfarm.base.records import FILES, RECORD
from cellfarm.envs.environments import clean_variables

from tests.support.small_model import Subject, environment
from tests.support.steps import build_model

pytestmark = pytest.mark.pipeline
RECIPE: dict[str, Any] = {
    "name": "keras",
    "task": "classification",
    "source": "keras",
    "architecture": "MobileNet",
    "arguments": {"alpha": 0.25, "classes": 10},
    "weights": {"kind": "random", "seed": 0},
    "inputs": [
        {"name": "input", "shape": [1, 3, 32, 32], "dtype": "float32", "content": "image"},
    ],
    "outputs": ["logits"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras") / "model"
    environment("models")
    record = build_model(RECIPE, folder)
    assert record.status == "ok", record
    return folder


def test_keras_network_is_left_beside_the_program(model):
    names = {path.name for path in (model / FILES).iterdir()}
    assert {"model.pt2", "model.keras"} <= names


@pytest.mark.parametrize(("variant", "least"), [("fp32", 1 - 1e-6), ("int8", 0.8)])
def test_tensorflow_s_artifact_gives_the_program_s_outputs(model, variant, least):
    subject = Subject.of("litert", variant, model, "keras")
    record = subject.convert()
    assert (record.status, record.reason) == ("ok", None), record
    launch = subject.launch("quality")
    assert launch["status"] == "ok", launch
    assert launch["quality"]["cosine"] > least
    assert (launch["quality"]["cosine"] < 1 - 1e-4) == (variant == "int8")
    profile = subject.launch("profile")
    types = {operator["type"] for operator in profile["profile"]["operators"]}
    assert "Other" not in types and "DepthwiseConv" in types
    assert ("Quantize" in types or "Cast" in types) == (variant == "int8")


def test_another_network_than_the_program_is_refused(model, tmp_path):
    other_model = tmp_path / "model"
    (other_model / FILES).mkdir(parents=True)
    for path in (model / FILES).iterdir():
        (other_model / FILES / path.name).write_bytes(path.read_bytes())
    with np.load(model / FILES / "reference.npz") as arrays:
        np.savez(other_model / FILES / "reference.npz", logits=arrays["logits"][:, ::-1])
    (other_model / RECORD).write_text('{"status": "ok", "reason": null}')
    record = Subject.of("litert", "fp32", other_model, "keras").convert()
    assert record.status == "failed"
    assert "Keras' model is not the program: output 'logits'" in (record.reason or "")


#: Every kind of layer with weights, with and without a bias, a scale and a centre.
RESTORED = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, sys.argv[1])
import keras, numpy, torch
from keras import layers
from pathlib import Path
from protocol import RecipeError
from source_keras import translate
from torch import nn

inputs = keras.Input((12, 12, 4))
x = layers.Conv2D(6, 3, padding="same", strides=2)(inputs)
x = layers.BatchNormalization(scale=False)(x)
x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)
x = layers.BatchNormalization(center=False)(x)
x = layers.SeparableConv2D(8, (3, 1), activation="relu6")(x)
x = layers.Conv2D(8, 1, groups=4, use_bias=False)(x)
x = layers.Dense(5)(layers.GlobalAveragePooling2D()(x))
original = keras.Model(inputs, x)
network = translate(original).eval()
with torch.no_grad():
    for module in network.modules():
        for name, tensor in module._parameters.items() | module._buffers.items():
            norm = isinstance(module, nn.BatchNorm2d)
            plain = norm and (name, module.num_features) in (("weight", 6), ("bias", 12))
            if tensor is not None and tensor.is_floating_point() and not plain:
                tensor.copy_(torch.rand_like(tensor) + 0.5 * norm)
network.write_original(Path("."))
loaded = keras.saving.load_model("model.keras", compile=False)
x = torch.randn(2, 4, 12, 12)
with torch.no_grad():
    actual, expected = network(x)[0], loaded(x.permute(0, 2, 3, 1), training=False)
assert float((actual - expected).abs().max()) < 1e-4 * float(actual.abs().max()), (actual, expected)
next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d)).weight.data += 1
try:
    network.write_original(Path("."))
except RecipeError as error:
    assert "is without scale and was given one" in str(error), str(error)
else:
    raise AssertionError("a scale was lost")
"""


def test_every_weight_finds_its_way_back(tmp_path):
    argv = [str(environment("models").python), "-s", "-c", RESTORED, str(PACKAGE / "models")]
    completed = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False, env=clean_variables()
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
