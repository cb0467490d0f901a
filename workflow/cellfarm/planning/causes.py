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
from ..conversion.steps import DeriveStep
from ..devices.facts import fingerprint
from ..envs.environments import identify_lock, library_environment, lock_of
from ..libraries import Library, all_libraries
from ..measures import all_measures
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.devices import Device
from .chains import Chains
from .needs import target_on

#: What cells share of their causes: "artifact", model, variant, library, version; "measure", library,
#: version, measure; "device", name; "tolerance", variant; "protocol".
Place = tuple[str, ...]

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
        chains: Chains,
    ) -> None:
        self._project = project
        self._configuration = configuration
        self._facts = facts
        self._chains = chains
        self._runtimes: dict[tuple[str, str], str] = {}
        self._shared: dict[Place, dict[str, str]] = {}
        #: of every place that was asked for, the digest of its causes
        self.digests: dict[Place, str] = {}

    def text(self, cell: Cell, measure: str) -> str:
        """All causes of a cell's result of a measure, as a text that differs where one of them does."""
        digests = self.digests
        return " ".join(
            [digests.get(place) or self.digest_of(place) for place in _places(cell, measure)]
        )

    def of(self, cell: Cell, measure: str) -> dict[str, str]:
        """The digests that make the key of a cell's result of a measure, by cause."""
        causes: dict[str, str] = {}
        for place in _places(cell, measure):
            causes |= self._causes(place)
        return causes

    def digest_of(self, place: Place) -> str:
        """The digest of the causes at a place."""
        if place not in self.digests:
            self.digests[place] = digest(self._causes(place))
        return self.digests[place]

    def _causes(self, place: Place) -> dict[str, str]:
        if place not in self._shared:
            kind, *names = place
            work_out: Any = getattr(self, f"_{kind}")
            self._shared[place] = work_out(*names)
        return self._shared[place]

    def _artifact(self, model: str, variant: str, library: str, version: str) -> dict[str, str]:
        program, artifact = self._chains.converted(model, variant, library, version)
        step = program.step
        causes = {"model": step.parent if isinstance(step, DeriveStep) else step.id}
        if isinstance(step, DeriveStep):
            causes["passes"] = step.id
        if program.labelled:
            causes["labelled"] = program.labelled
        return {**causes, "exporter": artifact.exporter, "converter": artifact.converter}

    def _measure(self, name: str, version: str, measure: str) -> dict[str, str]:
        library = all_libraries()[name]
        back_end = set(back_end_code(library))
        code = {
            place_of(path): sha256_of(path)
            for path in measure_code(library, measure)
            if path not in back_end
        }
        read = [file_digest(library.folder / file) for file in all_measures()[measure].reads]
        settings = self._configuration.protocol.measures[measure]
        return {
            "library": self._runtime(name, version),
            "measure": digest([code, read, settings]),
        }

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

    def _device(self, name: str) -> dict[str, str]:
        device, facts = self._configuration.devices[name], self._facts[name]
        described = {
            key: value
            for key, value in msgspec.to_builtins(device).items()
            if key not in _OF_THE_FARM
        }
        parts = [
            described,
            fingerprint(facts),
            tools.counted_of_device(device),
            str(target_on(device, facts)),
            native_code(device),
        ]
        return {"device": digest(parts)}

    def _tolerance(self, variant: str) -> dict[str, str]:
        tolerance = self._configuration.tolerance(variant)
        return {"verification": digest(msgspec.to_builtins(tolerance))}

    def _protocol(self) -> dict[str, str]:
        return {"protocol": digest(self._configuration.protocol.common())}


def _places(cell: Cell, measure: str) -> tuple[Place, ...]:
    """Where the causes of a cell's result of a measure are."""
    library, version = cell.library, cell.library_version
    return (
        ("artifact", cell.model, cell.variant, library, version),
        ("measure", library, version, measure),
        ("device", cell.device),
        ("protocol",),
        ("tolerance", cell.variant),
    )


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
