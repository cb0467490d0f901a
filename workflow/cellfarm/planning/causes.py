"""From files to digests: what the keys of a configuration depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..base.cells import Cell
from ..base.code import PlannedCode, closure, place_of, sha256_of
from ..base.digests import code_digest, digest, file_digest
from ..base.project import PACKAGE, Project
from ..conversion.steps import ArtifactStep, DeriveStep
from ..devices.facts import fingerprint
from ..envs.environments import identify_lock, library_environment, lock_of
from ..libraries import Library, all_libraries
from ..measures import all_measures
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.devices import Device
from .chains import Program
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
        facts: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._project = project
        self._configuration = configuration
        self._facts = facts
        self._protocol = digest(configuration.protocol.common())
        self._devices: dict[str, str] = {}
        self._runtimes: dict[tuple[str, str], str] = {}
        self._verification: dict[str, str] = {}
        self._of_measure: dict[tuple[str, str, str], dict[str, str]] = {}
        self._of_artifact: dict[str, str] = {}
        self._digest_of_measure: dict[tuple[str, str, str], str] = {}

    def text(self, cell: Cell, program: Program, artifact: ArtifactStep, measure: str) -> str:
        """All causes of a cell's result of a measure, as a text that differs where one of them does.

        What cells share is digested once: this is worked out for every measure of every cell.
        """
        if artifact.id not in self._of_artifact:
            self._of_artifact[artifact.id] = digest(self._artifact(program, artifact))
        place = (cell.library, cell.library_version, measure)
        if place not in self._digest_of_measure:
            self._digest_of_measure[place] = digest(self._measure(cell, measure))
        return (
            f"{self._of_artifact[artifact.id]} {self._digest_of_measure[place]}"
            f" {self._device(cell.device)} {self._protocol} {self._tolerance(cell.variant)}"
        )

    def of(
        self, cell: Cell, program: Program, artifact: ArtifactStep, measure: str
    ) -> dict[str, str]:
        """The digests that make the key of a cell's result of a measure, by cause."""
        return {
            **self._artifact(program, artifact),
            **self._measure(cell, measure),
            "device": self._device(cell.device),
            "protocol": self._protocol,
            "verification": self._tolerance(cell.variant),
        }

    def _measure(self, cell: Cell, measure: str) -> dict[str, str]:
        place = (cell.library, cell.library_version, measure)
        if place not in self._of_measure:
            library = all_libraries()[cell.library]
            back_end = set(back_end_code(library))
            code = {
                place_of(path): sha256_of(path)
                for path in measure_code(library, measure)
                if path not in back_end
            }
            read = [file_digest(library.folder / name) for name in all_measures()[measure].reads]
            settings = self._configuration.protocol.measures[measure]
            self._of_measure[place] = {
                "library": self._runtime(cell.library, cell.library_version),
                "measure": digest([code, read, settings]),
            }
        return self._of_measure[place]

    def _tolerance(self, variant: str) -> str:
        if variant not in self._verification:
            tolerance = self._configuration.tolerance(variant)
            self._verification[variant] = digest(msgspec.to_builtins(tolerance))
        return self._verification[variant]

    def _artifact(self, program: Program, artifact: ArtifactStep) -> dict[str, str]:
        step = program.step
        causes = {"model": step.parent if isinstance(step, DeriveStep) else step.id}
        if isinstance(step, DeriveStep):
            causes["passes"] = step.id
        if program.labelled:
            causes["labelled"] = program.labelled
        return {**causes, "exporter": artifact.exporter, "converter": artifact.converter}

    def _runtime(self, name: str, version: str) -> str:
        """Of a library, for all measures: its back end, its lock, its own tool, its settings."""
        if (name, version) not in self._runtimes:
            library = all_libraries()[name]
            lock = lock_of(self._project, library_environment(name, version, "run"))
            on_host = tools.of_library(self._configuration.config.tools, name)
            self._runtimes[name, version] = digest(
                [
                    [[path.name, sha256_of(path)] for path in back_end_code(library)],
                    tool_code(library).digest if library.tool.is_file() else "",
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


def measure_code(library: Library, measure: str) -> list[Path]:
    """The modules that a measure's launches import on a device."""
    entries = [PACKAGE / "runner/__main__.py", all_measures()[measure].folder / "device.py"]
    if all_measures()[measure].timed:
        entries.append(PACKAGE / "runner/gate.py")
    roots = [PACKAGE / "runner", library.folder, all_measures()[measure].folder]
    return list(closure(entries, roots).values())


def back_end_code(library: Library) -> list[Path]:
    """The modules of a library that running it imports, whatever is measured."""
    entries = [library.folder / "backend.py"] if library.has_backend else []
    return list(closure(entries, [library.folder]).values())


def payload_code(library: Library, measures: Iterable[str]) -> PlannedCode:
    """What goes to a device for a library: the runner with the device halves of measures."""
    entries = [f"runner/{name}.py" for name in ("__main__", "gate")]
    entries += [f"measures/{measure}/device.py" for measure in sorted(measures)]
    return PlannedCode.of(entries, ("runner", place_of(library.folder), "measures"))


def tool_code(library: Library) -> PlannedCode:
    """The module for a vendor's own tool, which stays on this machine."""
    return PlannedCode.of([place_of(library.tool)], [place_of(library.folder)])
