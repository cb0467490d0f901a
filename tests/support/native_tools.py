"""Replaces a vendor's tool by a script that replays a real log and writes outputs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cellfarm.base.cells import Cell
from cellfarm.devices.local import LocalTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.experiments import vendor_tools
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.launch import launch
from cellfarm.libraries import all_libraries
from cellfarm.measures.operators.profile import read_vocabulary

from tests.support.protocols import asked, protocol_of, with_measures
from tests.support.runner_modules import packed

DATA = Path(__file__).resolve().parents[1] / "data"
HELDOUT = 3


def write_script(path: Path, body: str) -> Path:
    """Write an executable Python program; `options` are its --name=value arguments."""
    text = f"""\
#!{sys.executable}
import os, pathlib, signal, sys, time
options = dict(one.removeprefix("--").partition("=")[::2] for one in sys.argv[1:])
{body}
"""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


class Bench:
    """Launches of a library's native tool on this machine, with a model of one input and output.

    Args:
        shapes: the shapes of the input and of the output.
        tools: the user's tools by name.
    """

    def __init__(
        self,
        folder: Path,
        library: str,
        shapes: tuple[list[int], list[int]],
        tools: Mapping[str, str],
        architecture: str = "aarch64",
    ) -> None:
        entry = all_libraries()[library]
        self.library, self.transport = library, LocalTransport(folder / "work")
        self.transport.prepare()
        rng = np.random.default_rng(0)
        inputs = [{"name": "input", "shape": shapes[0], "dtype": "float32"}]
        outputs = [{"name": "output", "shape": shapes[1], "dtype": "float32"}]
        self.input_arrays = {"input": rng.standard_normal(shapes[0]).astype(np.float32)}
        self.reference = {"output": rng.standard_normal(shapes[1]).astype(np.float32)}
        heldout = {
            "input": np.stack([self.input_arrays["input"] * n for n in range(1, HELDOUT + 1)])
        }
        tool = vendor_tools.find(entry, {}, tools, True)
        assert tool is not None
        module, paths = tool
        for name, arrays in (
            ("given", {"input": self.input_arrays["input"][None]}),
            ("held", heldout),
        ):
            vendor_tools.put_inputs(module, self.transport, name, arrays, inputs)
        payload = packed(folder / "payloads")
        self.transport.put(payload, "payload.pyz")
        artifact = folder / "artifact"
        artifact.mkdir()
        (artifact / "model").write_bytes(b"the model")
        self.transport.put(artifact, "artifact")
        self.deployed = Deployed(
            python=Interpreter((sys.executable, "-s", "-E"), {}),
            payload="payload.pyz",
            artifact="artifact",
            inputs="unused",
            description={"inputs": inputs, "outputs": outputs},
            input_arrays=self.input_arrays,
            reference=self.reference,
            classes=False,
            variables={},
            heldout_reference={"output": np.stack([self.reference["output"]] * HELDOUT)},
            vocabulary=read_vocabulary(entry.vocabulary),
            tool=vendor_tools.VendorTool(module, paths, {}, "given", "held", HELDOUT, architecture,
                                   {"conv": "Conv"}),
        )  # fmt: skip

    def launch(
        self,
        mode: str = "measure",
        *,
        threads: int = 1,
        processor: str = "cpu",
        cores: list[int] | None = None,
        measures: dict[str, Any] | None = None,
        **protocol: Any,
    ) -> dict[str, Any]:
        """The record of a launch.

        Args:
            measures: changes of the protocol's measures; `protocol` has its other changes.
        """
        changes = {"operators": {"runs": 5}, "quality": {"samples": 16}} | (measures or {})
        document = with_measures(**changes) | protocol
        cell = Cell("m", self.library, "1", "fp32", "host", processor, threads)
        return launch(
            Setting(self.transport, protocol_of(document), 2),
            self.deployed,
            cell,
            **asked(document, mode),
            cores=cores,
            scratch="launches/one",
        )

    def left(self) -> list[str]:
        """The files that a launch left in the folder of launches."""
        return [path.name for path in (self.transport.work_folder / "launches").iterdir()]
