"""Puts on the device what a cell's launches need, or says why the cell cannot be launched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import libraries
from ..analysis.plausibility import fastest_possible_ms
from ..base.digests import code_digest
from ..base.project import Project
from ..base.records import FILES, Record, failure, read_record
from ..conversion.workers import check_files
from ..devices import Transport
from ..envs.environments import Environment, locate
from ..envs.native_building import PROGRAM
from ..libraries.vendor_tool import NODES, Refusal
from ..measures.accuracy.pictures import MAX_TOOL_BYTES, Pictures
from ..measures.operators.profile import read_vocabulary
from ..measures.quality.comparison import Quality
from ..measures.quality.heldout import assess
from ..planning.plan import Plan, PlannedCell
from ..wanted.devices import AnyDevice
from . import native_runner, vendor_tools
from .deployed import Deployed
from .payload import pack

#: The kinds of inputs: those of record, the held-out ones, the labelled pictures.
INPUTS, HELDOUT, LABELLED = "given", "heldout", "labelled"
#: The outputs of a derived model's parent on held-out inputs, in the derived model's folder.
PARENT_REFERENCE = "heldout_parent_reference.npz"


@dataclass(frozen=True)
class Deployment:
    """Puts the cells of an experiment on its device.

    Args:
        plan: the frozen plan.
        facts: the device's.
        on_copied: called with the name of everything that was copied.
    """

    project: Project
    plan: Plan
    transport: Transport
    facts: Mapping[str, Any]
    on_copied: Callable[[str], None]

    def deploy(self, planned: PlannedCell) -> Deployed | Record:
        """Put a cell on the device; the record of a cell that cannot be launched says why."""
        refusal = self._refusal(planned)
        if refusal:
            return refusal
        cell = planned.cell
        library = libraries.all_libraries()[cell.library]
        model = self.project.root / planned.model / FILES
        artifact = self.project.root / planned.artifact
        for folder in (model.parent, artifact):
            check_files(folder)
        record = read_record(artifact)
        assert record
        description = json.loads((model / "model.json").read_text(encoding="utf-8"))
        pictures = Pictures.of(model)
        environment = self._environment(planned)
        is_native = planned.needs.native
        payload = pack(self.plan.runners[cell.library], self.project.results / "payloads")
        files = {f"artifacts/{record.content}": artifact / FILES}
        if self._device(planned).runs_python:
            files[f"payloads/{payload.name}"] = payload
        if is_native:
            files[f"runtimes/{environment.folder.name}"] = environment.packages
            inputs = self._put_raw(planned, model, description, pictures)
        else:
            inputs = {INPUTS: f"inputs/{model_id(planned)}.npz",
                      HELDOUT: f"inputs/{model_id(planned)}.heldout.npz"}  # fmt: skip
            files |= {inputs[INPUTS]: model / "inputs.npz", inputs[HELDOUT]: model / "heldout.npz"}
            if pictures:
                inputs[LABELLED] = f"inputs/{model_id(planned)}.labelled.npy"
                files[inputs[LABELLED]] = pictures.pixels
        for name, source in files.items():
            if self.transport.put(source, name):
                self.on_copied(name)
        heldout_reference = _arrays(model / "heldout_reference.npz")
        classes = self.plan.models[cell.model].task == "classification"
        try:
            tool = self._tool(planned, library, model, description, pictures)
        except Refusal as error:
            return _unsupported(str(error))
        if tool is None and not library.has_backend:
            return _unsupported(f"no tool of {library.name} is given for this device")
        return Deployed(
            python=self.transport.interpreter(None if is_native else environment),
            payload=f"payloads/{payload.name}",
            artifact=f"artifacts/{record.content}",
            inputs=inputs[INPUTS],
            heldout=inputs[HELDOUT],
            heldout_reference=heldout_reference,
            compression=_compression(model, heldout_reference, classes),
            description=description,
            input_arrays=_arrays(model / "inputs.npz"),
            reference=_arrays(model / "reference.npz"),
            classes=classes,
            variables=library.variables,
            vocabulary=read_vocabulary(library.vocabulary),
            payload_bytes=_bytes(environment.packages if is_native else payload),
            tool=tool,
            labelled=inputs.get(LABELLED, ""),
            pictures=pictures,
            native=f"runtimes/{environment.folder.name}/{PROGRAM}" if is_native else "",
        )

    def _put_raw(
        self,
        planned: PlannedCell,
        model: Path,
        description: Mapping[str, Any],
        pictures: Pictures | None,
    ) -> dict[str, str]:
        """Put the inputs on the device as a native runner reads them; returns their names by kind."""
        names = {}
        for kind, arrays in _samples(model, pictures).items():
            name = f"inputs/{model_id(planned)}.{kind}.raw"
            raw = native_runner.as_raw(arrays, description["inputs"])
            if vendor_tools.put_files(self.transport, name, {native_runner.SAMPLES: raw}):
                self.on_copied(name)
            names[kind] = f"{name}/{native_runner.SAMPLES}"
        return names

    def _tool(
        self,
        planned: PlannedCell,
        library: libraries.Library,
        model: Path,
        description: Mapping[str, Any],
        pictures: Pictures | None,
    ) -> vendor_tools.VendorTool | None:
        """The library's own tool with its inputs on the device; None if the user names no tool."""
        host_tools = self.plan.tools.get(planned.cell.library, {})
        device_tools = self._device(planned).tools
        tool = vendor_tools.find(library, host_tools, device_tools, self.transport.is_host)
        if tool is None:
            return None
        module, paths = tool
        nodes = self.project.root / planned.artifact / FILES / NODES
        prefix = f"inputs/{model_id(planned)}.{library.name}-{code_digest(*library.tool_modules)}"
        samples = _samples(model, pictures)
        for kind, arrays in samples.items():
            name = f"{prefix}.{kind}"
            if vendor_tools.put_inputs(module, self.transport, name, arrays, description["inputs"]):
                self.on_copied(name)
        return vendor_tools.VendorTool(
            module=module,
            tools=paths,
            host_tools=host_tools,
            inputs=f"{prefix}.{INPUTS}",
            heldout=f"{prefix}.{HELDOUT}",
            heldout_samples=min((len(array) for array in samples[HELDOUT].values()), default=0),
            architecture=self.facts.get("architecture"),
            nodes=json.loads(nodes.read_text(encoding="utf-8")) if nodes.is_file() else {},
            labelled=f"{prefix}.{LABELLED}" if LABELLED in samples else "",
            labelled_samples=len(pictures.labels) if pictures and LABELLED in samples else 0,
        )

    def _environment(self, planned: PlannedCell) -> Environment:
        return locate(self.project, planned.needs.run)

    def _device(self, planned: PlannedCell) -> AnyDevice:
        return self.plan.devices[planned.cell.device]

    def fastest_ms(self, planned: PlannedCell, deployed: Deployed) -> float | None:
        """The shortest plausible latency (see cellfarm.analysis.plausibility)."""
        cell = planned.cell
        flops = deployed.description.get("flops")
        precision = self.plan.precisions[cell.variant]
        return fastest_possible_ms(flops, self.facts, cell.threads, precision, cell.processor)

    def _refusal(self, planned: PlannedCell) -> Record | None:
        """Why a cell cannot be launched at all."""
        if planned.refusal is not None:
            return _unsupported(planned.refusal)
        state = self._environment(planned).state()
        if state is None or state.status != "ok":
            reason = state.reason if state else "its environment is not built"
            return Record("failed", f"missing library: {reason}")
        return failure(self.project.root / planned.artifact, "conversion")


def model_id(planned: PlannedCell) -> str:
    """The name of a cell's model in the names of files on a device."""
    return planned.model.rpartition("/")[2]


def _unsupported(reason: str) -> Record:
    return Record("unsupported", reason)


def _samples(model: Path, pictures: Pictures | None) -> dict[str, dict[str, np.ndarray]]:
    """By kind, arrays [samples, *shape] for each input; pictures only if a device can hold them as floats."""
    inputs = {name: array[None] for name, array in _arrays(model / "inputs.npz").items()}
    samples = {INPUTS: inputs, HELDOUT: _arrays(model / "heldout.npz")}
    if pictures and pictures.tool_bytes <= MAX_TOOL_BYTES:
        samples[LABELLED] = pictures.arrays()
    return samples


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _compression(model: Path, reference: Mapping[str, np.ndarray], classes: bool) -> Quality | None:
    """How far a derived model's reference is from its parent's; None for a model without passes."""
    parent = model / PARENT_REFERENCE
    return assess(reference, _arrays(parent), classes) if parent.is_file() else None
