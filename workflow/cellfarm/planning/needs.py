"""What a cell needs on its device: its environments, or the reason why it cannot be launched at all.

This is the one answer that the planner, the deployer, `doctor` and `retry` use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from ..base.cells import Cell
from ..base.names import Format
from ..conversion.routes import READ_IN
from ..envs.environments import NATIVE, library_environment
from ..envs.native_building import ARCHITECTURE
from ..envs.targets import BUNDLED_PYTHON, Target, target_of
from ..libraries import Library
from ..wanted import tools
from ..wanted.devices import Device
from ..wanted.variants import Variant


class Needs(Struct, frozen=True, omit_defaults=True):
    """The names of a cell's environments.

    Args:
        run: what its launches run in.
        convert: what its artifact is made in.
        python: that of the Python that is put on a device which has none.
        native: whether `run` is a native runner.
    """

    run: str
    convert: str
    python: str | None = None
    native: bool = False

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in (self.convert, self.run, self.python) if name)


def target_on(device: Device, facts: Mapping[str, Any]) -> Target | None:
    """What a device's environments are built for; None for this machine, and for a device that gets no
    Python."""
    return None if device.is_local or not device.runs_python else target_of(facts)


def needs_of(
    device: Device, facts: Mapping[str, Any], library: str, version: str, source: Format | None
) -> Needs:
    """The environments of a library's cells on a device.

    Args:
        source: the format that the library's converter reads.
    """
    own = library_environment(library, version, "convert")
    convert = READ_IN.get(source or "", own)
    target = target_on(device, facts)
    python = f"{BUNDLED_PYTHON}+{target}" if target and target.bundled else None
    if library in device.native:
        return Needs(library_environment(library, version, NATIVE), convert, python, native=True)
    run = library_environment(library, version, "run", str(target) if target else None)
    return Needs(run, convert, python)


def refusal_of(
    cell: Cell,
    variant: Variant,
    library: Library,
    device: Device,
    facts: Mapping[str, Any],
    on_host: Mapping[str, str],
) -> str | None:
    """Why a cell is `unsupported` whatever its artifact is, or None.

    Args:
        on_host: the config's tools for the library (see cellfarm.wanted.tools).
    """
    if variant.precision not in library.precisions:
        return f"{library.name} has no precision {variant.precision} in cellfarm"
    if cell.processor not in library.processors:
        return f"{library.name} has no processor {cell.processor} in cellfarm"
    if cell.processor not in device.processors:
        return f"device {cell.device} lists no processor {cell.processor}"
    native, architecture = library.name in device.native, facts.get("architecture")
    if native and architecture != ARCHITECTURE:
        return f"native runners are for {ARCHITECTURE}, not for {architecture}"
    if not native and not device.runs_python:
        return "the device gets no Python: only what stands under `native` runs there"
    return tools.missing(library, on_host, device.tools)
