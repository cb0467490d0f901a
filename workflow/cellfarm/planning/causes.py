"""From files to digests: what the keys of a configuration depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..base.cells import Cell
from ..base.code import PlannedCode
from ..base.digests import code_digest, digest, file_digest
from ..base.project import PACKAGE, Project
from ..conversion.steps import ArtifactStep, DeriveStep
from ..devices.facts import fingerprint
from ..envs.environments import identify_lock, library_environment, lock_of
from ..libraries import Library, all_libraries
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.devices import Device
from .chains import Chains, Program
from .needs import target_on

#: Where a device is, how it is selected and when it is left alone; what is measured does not depend on it.
_OF_THE_FARM = ("address", "labels", "limits", "out_of_service")


class Causes:
    """The digests of a configuration, each worked out once.

    Args:
        facts: device -> its facts (see cellfarm.devices.facts).
    """

    def __init__(
        self,
        project: Project,
        configuration: Configuration,
        chains: Chains,
        facts: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._project = project
        self._configuration = configuration
        self._chains = chains
        self._facts = facts
        self._protocol = digest(configuration.protocol)
        self._of_artifact: dict[tuple[str, str], dict[str, str]] = {}
        self._devices: dict[str, str] = {}
        self._runtimes: dict[tuple[str, str], str] = {}

    def of(self, cell: Cell, program: Program, artifact: ArtifactStep) -> dict[str, str]:
        """The digests that make a cell's key, by cause."""
        place = (artifact.id, cell.variant)
        if place not in self._of_artifact:
            self._of_artifact[place] = self._artifact(program, artifact) | {
                "library": self._runtime(cell.library, cell.library_version),
                "runner": runner_code(all_libraries()[cell.library]).digest,
                "protocol": self._protocol,
                "verification": digest(
                    msgspec.to_builtins(self._configuration.tolerance(cell.variant))
                ),
            }
        return self._of_artifact[place] | {"device": self._device(cell.device)}

    def _artifact(self, program: Program, artifact: ArtifactStep) -> dict[str, str]:
        step = program.step
        causes = {"model": step.parent if isinstance(step, DeriveStep) else step.id}
        if isinstance(step, DeriveStep):
            causes["passes"] = step.id
        if program.labelled:
            causes["labelled"] = program.labelled
        return {**causes, "exporter": artifact.exporter, "converter": artifact.converter}

    def _runtime(self, name: str, version: str) -> str:
        """Of a library's back end: its lock, its vocabulary, its own tool, its settings."""
        if (name, version) not in self._runtimes:
            library = all_libraries()[name]
            lock = lock_of(self._project, library_environment(name, version, "run"))
            on_host = tools.of_library(self._configuration.config.tools, name)
            self._runtimes[name, version] = digest(
                [
                    tool_code(library).digest if library.tool.is_file() else "",
                    file_digest(library.vocabulary),
                    identify_lock(lock),
                    library.variables,
                    *tools.counted(library, on_host, "run"),
                ]
            )
        return self._runtimes[name, version]

    def _device(self, name: str) -> str:
        if name not in self._devices:
            device, facts = self._configuration.devices[name], self._facts[name]
            described = {
                key: value
                for key, value in msgspec.to_builtins(device).items()
                if key not in _OF_THE_FARM
            }
            self._devices[name] = digest(
                [
                    described,
                    fingerprint(facts),
                    tools.counted_of_device(device),
                    str(target_on(device, facts)),
                    native_code(device),
                ]
            )
        return self._devices[name]


def native_code(device: Device) -> list[str]:
    """Of the libraries that run in native runners on a device, the digests of those."""
    return [code_digest(*all_libraries()[name].native_sources) for name in device.native]


def runner_code(library: Library) -> PlannedCode:
    """What goes to a device: the runner with a library's modules."""
    folder = f"libraries/{library.name}"
    entries = [f"runner/{path.name}" for path in sorted((PACKAGE / "runner").glob("*.py"))]
    entries += [f"{folder}/{path.name}" for path in library.shipped]
    return PlannedCode.of(entries, ("runner", folder))


def tool_code(library: Library) -> PlannedCode:
    """The module for a vendor's own tool, which stays on this machine."""
    folder = f"libraries/{library.name}"
    return PlannedCode.of([f"{folder}/tool.py"], (folder,))
