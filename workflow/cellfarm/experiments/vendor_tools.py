"""Finds a library's own tool, which replaces the runner on a device, and puts its inputs there (see
cellfarm.libraries.vendor_tool)."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..devices import Transport
from ..libraries import Library


@dataclass(frozen=True)
class VendorTool:
    """A library's tool with the user's paths, and its inputs on the device.

    Args:
        inputs, heldout, labelled: names of folders in the device's work folder; `labelled` is empty if there
            are no labelled pictures, or too many.
        nodes: type of each node of the source graph, if the artifact has it.
    """

    module: ModuleType
    tools: Mapping[str, str]
    host_tools: Mapping[str, str]
    inputs: str
    heldout: str
    heldout_samples: int
    architecture: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    labelled: str = ""
    labelled_samples: int = 0


def find(
    library: Library, host_tools: Mapping[str, str], device_tools: Mapping[str, str], is_host: bool
) -> tuple[ModuleType, dict[str, str]] | None:
    """The module and the tools on the device, if the library has a tool and the user names it."""
    if not library.tool.is_file():
        return None
    module = importlib.import_module(f"cellfarm.libraries.{library.name}.tool")
    tools = {**(host_tools if is_host else {}), **device_tools}
    return (module, tools) if module.usable({**host_tools, **tools}, tools) else None


def put_inputs(
    module: ModuleType,
    transport: Transport,
    name: str,
    arrays: Mapping[str, np.ndarray],
    inputs: Sequence[Mapping[str, Any]],
) -> bool:
    """Put samples on the device as the tool reads them, under a name that identifies their content.

    Args:
        arrays: [samples, *shape] for each input.
    """
    samples = [
        list(sample) for sample in zip(*(arrays[spec["name"]] for spec in inputs), strict=True)
    ]
    files = module.input_files(transport.resolve(name), samples, inputs)
    return put_files(transport, name, files)


def read_raw(data: bytes, spec: Mapping[str, Any]) -> np.ndarray:
    """An output from a tool's file of little-endian float32.

    Raises:
        ValueError: the file is not exactly as long as the output is.
    """
    expected = 4 * int(np.prod(spec["shape"], dtype=np.int64))
    if len(data) != expected:
        raise ValueError(
            f"the output '{spec['name']}' has {len(data)} bytes; {expected} were expected"
        )
    return np.frombuffer(data, "<f4").reshape(spec["shape"]).copy()


def put_files(transport: Transport, name: str, files: Mapping[str, bytes]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "files")
        source.mkdir()
        for relative, data in files.items():
            path = source / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return transport.put(source, name)
