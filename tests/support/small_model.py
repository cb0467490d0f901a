"""Makes a model of a few operators for converters in seconds, as the models' worker leaves it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cellfarm.base.cells import Cell
from cellfarm.base.names import Format, Precision
from cellfarm.base.project import Project
from cellfarm.base.records import FILES, Record, read_record
from cellfarm.conversion.routes import READ_IN, choose
from cellfarm.devices.local import LocalTransport
from cellfarm.envs.environments import Environment, build, locate
from cellfarm.envs.native_building import PROGRAM
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.launch import launch
from cellfarm.experiments.native_runner import as_raw
from cellfarm.experiments.payload import pack
from cellfarm.libraries import Library, all_libraries
from cellfarm.measures import all_measures
from cellfarm.measures.operators.profile import read_vocabulary
from cellfarm.planning.causes import payload_code

from tests.support.protocols import asked, protocol_of, with_measures
from tests.support.steps import convert, filled

SAMPLES = 3
#: Batch normalisation, a depthwise convolution, a sum, a concatenation, pooling and a classifier.
_MAKE = """\
import sys, pathlib, warnings, numpy as np, torch
from torch import nn
warnings.simplefilter("ignore")
out = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16),
                                  nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(inplace=True))
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(32, 10)
    def forward(self, x):
        x = self.stem(x)
        y = torch.cat([self.pointwise(self.depthwise(x)) + x, x], 1)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(y, 1), 1))
model = Small()
with torch.no_grad():
    model.train()
    for _ in range(3): model(3 * torch.randn(4, 3, 32, 32))
    model.eval()
    def draw(n): return 3 * torch.randn(n, 1, 3, 32, 32) + torch.randn(n, 1, 3, 1, 1)
    def predict(samples): return np.stack([model(sample).numpy() for sample in samples])
    inputs, heldout = draw(1), draw(int(sys.argv[2]))
    np.savez(out / "inputs.npz", input=inputs[0].numpy())
    np.savez(out / "calibration.npz", input=draw(16).numpy())
    np.savez(out / "heldout.npz", input=heldout.numpy())
    np.savez(out / "reference.npz", logits=predict(inputs)[0])
    np.savez(out / "heldout_reference.npz", logits=predict(heldout))
    program = torch.export.export(model, (inputs[0],))
    torch.export.save(program, out / "model.pt2")
    torch.onnx.export(program, (), str(out / "model.onnx"), dynamo=True, verbose=False,
                      input_names=["input"], output_names=["logits"], external_data=False)
"""
_DESCRIPTION = {
    "inputs": [{"name": "input", "shape": [1, 3, 32, 32], "dtype": "float32"}],
    "outputs": [{"name": "logits", "shape": [1, 10], "dtype": "float32"}],
    "task": "classification",
    "parameters": 1000,
    "flops": 1e6,
}


def environment(name: str) -> Environment:
    """An environment of the checkout, which is built first."""
    built = locate(Project.here(), name)
    state = build(built)
    assert state.status == "ok", state
    return built


def make_model(folder: Path) -> Path:
    """Fill the folder of a model, with ``model.pt2`` and ``model.onnx`` in it; returns it."""
    files = folder / FILES
    files.mkdir(parents=True)
    python = environment("models").python
    subprocess.run([str(python), "-c", _MAKE, str(files), str(SAMPLES)], check=True)
    (files / "model.json").write_text(json.dumps(_DESCRIPTION))
    return filled(folder)


@dataclass
class Subject:
    """One library and variant, for the model of `make_model` or one with the same inputs and outputs.

    `native` is the format that the model is in.
    """

    library: Library
    variant: Precision
    model: Path
    work: Path
    native: Format = "pt2"

    @classmethod
    def of(cls, library: str, variant: Precision, model: Path, native: Format = "pt2") -> Subject:
        """A subject with its files beside the model's, shared by tests with the same arguments."""
        work_folder = model.parent / f"{library}-{variant}"
        return cls(all_libraries()[library], variant, model, work_folder, native)

    def environment(self, purpose: str) -> Environment:
        return environment(f"{self.library.name}@{self.library.default_version}.{purpose}")

    def convert(self, name: str = "artifact") -> Record:
        """The record of the first conversion under this name."""
        record = read_record(self.work / name)
        if record:
            return record
        form = choose(self.native, self.library.sources)
        environment(READ_IN[form]) if form in READ_IN else self.environment("convert")
        return convert(
            self.library, self.variant, self.model, self.model, form, self.work / name,
            native=self.native,
        )  # fmt: skip

    def launch(
        self,
        mode: str,
        processor: str = "cpu",
        native: Path | None = None,
        cores: list[int] | None = None,
    ) -> dict[str, Any]:
        """The record of a launch of the converted artifact.

        Args:
            native: a folder with a native runner to launch instead of the runner.
        """
        transport = LocalTransport(self.work / "device")
        transport.prepare()
        files = self.model / FILES
        transport.put(
            pack(payload_code(self.library, all_measures()), self.work / "packed"), "payload.pyz"
        )
        transport.put(self.work / "artifact" / FILES, "artifact")
        for name in ("inputs.npz", "heldout.npz"):
            transport.put(files / name, name)
        inputs = {"inputs": "inputs.npz", "heldout": "heldout.npz"}
        if native:
            transport.put(native, native.name)
            inputs = {kind: self._put_raw(transport, name) for kind, name in inputs.items()}
        with (
            np.load(files / "reference.npz") as single,
            np.load(files / "heldout_reference.npz") as heldout,
        ):
            reference, heldout_reference = dict(single), dict(heldout)
        deployed = Deployed(
            python=transport.interpreter(self.environment("run")),
            payload="payload.pyz",
            artifact="artifact",
            **inputs,
            heldout_reference=heldout_reference,
            description=_DESCRIPTION,
            input_arrays={},
            reference=reference,
            classes=True,
            variables=self.library.variables,
            vocabulary=read_vocabulary(self.library.vocabulary),
            native=f"{native.name}/{PROGRAM}" if native else "",
        )
        name, version = self.library.name, self.library.default_version
        cell = Cell("small", name, version, self.variant, "host", processor, 2)
        return launch_mode(transport, deployed, cell, mode, cores)

    def _put_raw(self, transport: LocalTransport, name: str) -> str:
        """Send inputs as a native runner reads them; those of inputs.npz are one sample."""
        with np.load(self.model / FILES / name) as stored:
            arrays = {
                key: stored[key] if name == "heldout.npz" else stored[key][None] for key in stored
            }
        raw = self.work / f"{name}.raw"
        raw.write_bytes(as_raw(arrays, _DESCRIPTION["inputs"]))
        transport.put(raw, raw.name)
        return raw.name


def launch_mode(
    transport: LocalTransport,
    deployed: Deployed,
    cell: Cell,
    mode: str,
    cores: list[int] | None = None,
) -> dict[str, Any]:
    """The record of a launch of the measure with this mode."""
    document = with_measures(operators={"runs": 2}, quality={"samples": SAMPLES})
    return launch(
        Setting(transport, protocol_of(document), 2), deployed, cell,
        **asked(document, mode), cores=cores, scratch="launches/one",
    )  # fmt: skip
