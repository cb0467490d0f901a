"""The real PyTorch Mobile from Debian's packages, with a model of a few operators."""

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
MOBILE = all_libraries()["pytorch_mobile"]
VERSION = MOBILE.default_version
SOURCE = "model.torchscript.pt"

#: Batch normalisation, ReLU6 in place, a depthwise convolution, a sum that one operand outlives, pooling
#: and a classifier; as the models' worker leaves a model, and a second time with an operator of no release.
MAKE = """\
import sys, pathlib, zipfile, numpy as np, torch
from torch import nn
out = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16),
                                  nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(inplace=True))
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)
    def forward(self, x):
        x = self.stem(x)
        y = self.pointwise(self.depthwise(x)) + x
        y = nn.functional.celu(y) * torch.cat([x, y], 1)[:, :16]
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(y, 1), 1))
model = Small()
with torch.no_grad():
    model.train()
    for _ in range(3): model(3 * torch.randn(4, 3, 64, 64))
    model.eval()
    traced = torch.jit.trace(model, torch.randn(1, 3, 64, 64))
    torch.jit.save(traced, str(out / "model.torchscript.pt"))
    def predict(samples): return np.stack([model(sample).numpy() for sample in samples])
    inputs, heldout = 3 * torch.randn(1, 1, 3, 64, 64), 3 * torch.randn(3, 1, 3, 64, 64)
    np.savez(out / "inputs.npz", input=inputs[0].numpy())
    np.savez(out / "calibration.npz", input=(3 * torch.randn(16, 1, 3, 64, 64)).numpy())
    np.savez(out / "heldout.npz", input=heldout.numpy())
    np.savez(out / "reference.npz", logits=predict(inputs)[0])
    np.savez(out / "heldout_reference.npz", logits=predict(heldout))
with zipfile.ZipFile(out / "model.torchscript.pt") as source, \\
        zipfile.ZipFile(sys.argv[2], "w") as changed:
    for name in source.namelist():
        data = source.read(name)
        changed.writestr(name, data.replace(b"celu(", b"alien(") if name.endswith(".py") else data)
"""
DESCRIPTION = {
    "inputs": [{"name": "input", "shape": [1, 3, 64, 64], "dtype": "float32"}],
    "outputs": [{"name": "logits", "shape": [1, 10], "dtype": "float32"}],
    "parameters": 1000,
    "flops": 1e6,
}


def environment(purpose: str) -> Environment:
    return small_model.environment(f"pytorch_mobile@{VERSION}.{purpose}")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """The filled folders of the model, and of a copy with an unknown operator."""
    folders = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("alien")
    for folder in folders:
        (folder / FILES).mkdir()
        (folder / RECORD).write_text(json.dumps({"status": "ok", "reason": None}))
    supported, unsupported = (folder / FILES for folder in folders)
    (supported / "model.json").write_text(json.dumps(DESCRIPTION))
    python = str(environment("convert").python)
    subprocess.run([python, "-c", MAKE, str(supported), str(unsupported / SOURCE)], check=True)
    return folders


@pytest.fixture
def model(models) -> Path:
    return models[0]  # type: ignore[no-any-return]


def convert(model: Path, variant: str, out: Path, source: Path | None = None) -> Record:
    return steps.convert(MOBILE, variant, model, source or model, "torchscript", out)


def deploy(model: Path, artifact: Path, work_folder: Path) -> tuple[LocalTransport, Deployed]:
    transport = LocalTransport(work_folder)
    transport.prepare()
    files = model / FILES
    transport.put(pack(payload_code(MOBILE, all_measures()), work_folder / "packed"), "payload.pyz")
    transport.put(artifact / FILES, "artifact")
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
        description=DESCRIPTION,
        input_arrays={},
        reference=reference,
        classes=True,
        variables=MOBILE.variables,
        vocabulary=read_vocabulary(MOBILE.vocabulary),
    )
    return transport, deployed


def test_convolutions_are_not_quantised_at_run_time(model, tmp_path):
    record = convert(model, "int8_dynamic", tmp_path / "artifact")
    assert record.status == "unsupported"
    assert "convolutions would stay in full precision" in (record.reason or "")


@pytest.mark.parametrize(
    ("variant", "least", "provider"),
    [
        ("fp32", 0.999999, "xnnpack"),
        ("int8", 0.98, "qnnpack"),
    ],
)
def test_a_variant_is_made_run_verified_and_profiled(model, tmp_path, variant, least, provider):
    record = convert(model, variant, tmp_path / "artifact")
    assert (record.status, record.reason) == ("ok", None), record
    transport, deployed = deploy(model, tmp_path / "artifact", tmp_path / "work")
    cell = Cell("small", "pytorch_mobile", VERSION, variant, "host", "cpu", 2)

    def run(mode: str) -> dict[str, Any]:
        return launch_mode(transport, deployed, cell, mode)

    measured = run("measure")
    assert (measured["status"], measured["reason"]) == ("ok", None), measured.get("log")
    assert measured["actual"] == {"threads": 2, "provider": provider}
    assert measured["comparison"]["cosine"] > least
    assert run("quality")["quality"]["cosine"] > least
    operators = run("profile")["profile"]["operators"]
    assert all(
        operator["type"] != "Other" for operator in operators if "celu" not in operator["name"]
    ), operators
    assert {"Conv", "Concat"} <= {operator["type"] for operator in operators}
    if variant == "int8":
        # ReLU6 is part of the convolution before it.
        assert not [operator for operator in operators if operator["type"] in ("Clip", "Relu")]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_an_operator_that_this_version_lacks_is_named(models, tmp_path, variant):
    record = convert(models[0], variant, tmp_path / "artifact", source=models[1])
    assert record.status == "unsupported", record
    assert "alien" in (record.reason or "")


def test_all_that_is_loaded_is_the_tree_s_own():
    output = subprocess.run(
        [
            *(str(environment("run").python), "-s", "-E", "-c"),
            "import torch.jit.mobile; print(open('/proc/self/maps').read())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {line.split()[-1] for line in output.splitlines() if ".so" in line}
    assert files and all("/debian-" in file for file in files), files
