"""A benchmark's own project: real launches through the product's own experiments.

Sources, environments, models and artifacts are links to the checkout's; results, work folders and
the history of the device's speed belong to the lab and are removed with it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cellfarm.experiments.run as running
from cellfarm.base.errors import CellfarmError
from cellfarm.base.project import Project
from cellfarm.base.records import read_record
from cellfarm.devices import Transport, open_device
from cellfarm.envs.environments import locate
from cellfarm.experiments.experiment import Experiment
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import Outlook, look
from cellfarm.planning.plan import Plan
from cellfarm.store.results import Store
from cellfarm.wanted.configuration import load_file
from cellfarm.wanted.devices import AnyDevice
from cellfarm.wanted.protocols import Gates, Protocol, read_protocol
from msgspec import structs

from .figures import REPOSITORY, SCRATCH, NotMeasurable, Options
from .watching import LaunchTimes, WatchingTransport

DEVICE = "host"
#: The settings of the measure latency under `--quick`.
SMOKE: dict[str, Any] = {
    "launches": {"min": 2, "max": 2},
    "samples": {"min": 10, "max": 10, "seconds": 0},
}
#: For comparisons pair by pair in one session: an experiment of the product is shorter.
PATIENT: dict[str, Any] = {"budget_s": 600}
#: Leaves out the launches that no figure needs.
LATENCY_ONLY: tuple[str, ...] = ("latency",)

Result = dict[str, Any]


def changed_protocol(
    project: Project,
    name: str,
    measures: Sequence[str] | None = None,
    latency: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Protocol:
    """A protocol of a project with changes; see `Lab.protocol`. `gates` are changes of the gates."""
    protocol = read_protocol(project.config / "protocols" / f"{name}.yaml")
    selected = {
        measure: settings | dict(latency or {}) if measure == "latency" else settings
        for measure, settings in protocol.measures.items()
        if measures is None or measure in measures
    }
    if "gates" in changes:
        changes["gates"] = Gates(**protocol.gates.as_dict() | changes["gates"])
    return structs.replace(protocol, measures=selected, **changes)


def tiny(protocol: Protocol, latency: Mapping[str, Any] | None = None) -> Protocol:
    """A minimal protocol that shows that something works: its figures mean nothing.

    Args:
        latency: settings to keep.
    """
    gates = Gates(**protocol.gates.as_dict() | {"wait_s": 0.2, "budget_s": 2})
    measures = {"latency": protocol.measures["latency"] | SMOKE | dict(latency or {})}
    return structs.replace(protocol, measures=measures, gates=gates)


@dataclass
class Measured:
    """The results of a run of the product.

    `results` are the store's documents, in the plan's order; `launches` every process of a runner,
    including gates; `wall_s` the experiments' whole time.
    """

    results: list[Result] = field(default_factory=list)
    launches: list[LaunchTimes] = field(default_factory=list)
    wall_s: float = 0.0

    def seconds(self, *modes: str) -> float:
        """Seconds of the launches of these modes, by default of all."""
        return sum(launch.seconds for launch in self.launches if not modes or launch.mode in modes)


class LabProject(Project):
    """A project whose environments are below its root, whatever the process's variables say."""

    @property
    def environments(self) -> Path:
        return self.root / ".envs"


class Lab:
    """See the module. `root` is an empty folder; use `open_lab`."""

    def __init__(self, root: Path) -> None:
        self.project = LabProject(root)
        self.real = Project(REPOSITORY)
        self._runs = 0
        for name in ("config", "models", "devices"):
            (root / name).symlink_to(REPOSITORY / name)
        shutil.copytree(self.real.locks, self.project.locks)
        self._link_all(self.real.environments, self.project.environments)
        self._link_all(self.real.results / "artifacts", self.project.results / "artifacts")
        (self.project.results / "models").symlink_to(self.real.results / "models")

    @staticmethod
    def _link_all(source: Path, destination: Path) -> None:
        if not source.is_dir():
            raise NotMeasurable(f"there is no {source.name} yet in this checkout; run `make` first")
        destination.mkdir(parents=True)
        for entry in source.iterdir():
            (destination / entry.name).symlink_to(entry)

    def protocol(
        self,
        name: str,
        options: Options,
        measures: Sequence[str] | None = None,
        latency: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Protocol:
        """A protocol of the checkout with changes; made tiny by `--quick`.

        Args:
            measures: the measures to keep; by default all of the protocol.
            latency: settings of that measure that replace the protocol's.
        """
        protocol = changed_protocol(self.project, name, measures, latency, **changes)
        return tiny(protocol, latency) if options.quick else protocol

    def plan(self, protocol: Protocol, **axes: Any) -> tuple[Outlook, Plan]:
        """Plan the checkout's config with other axes (models, libraries, threads ...).

        Returns:
            The plan, and the same frozen.

        Raises:
            NotMeasurable: the config is wrong, or an environment or artifact is not there yet.
        """
        try:
            configuration = load_file(self.project, changes=axes)
            outlook = look(self.project, structs.replace(configuration, protocol=protocol))
        except CellfarmError as error:
            raise NotMeasurable(str(error)) from error
        for planned in outlook.cells:
            environment = locate(self.project, planned.needs.run).state()
            record = read_record(self.project.root / planned.artifact)
            if not environment or environment.status != "ok" or not record:
                raise NotMeasurable(
                    f"{planned.cell.label}: its environment or artifact is not there or not up to "
                    "date; run `make` first"
                )
        self._runs += 1
        return outlook, freeze(outlook, attempt=self._runs)

    def measure(self, protocol: Protocol, **axes: Any) -> Measured:
        """Measure every cell of a matrix anew, by the product's own experiments.

        The results of an earlier call stay in results/earlier; what is known of the device stays.

        Raises:
            NotMeasurable: see `plan`; or the device cannot be used.
        """
        self._set_aside()
        outlook, plan = self.plan(protocol, **axes)
        measured = Measured()
        began_s = time.monotonic()
        with _watched(measured.launches):
            for step in plan.experiment.values():
                try:
                    running.run_experiment(Experiment(self.project, plan, step))
                except CellfarmError as error:
                    raise NotMeasurable(str(error)) from error
        measured.wall_s = time.monotonic() - began_s
        store = Store(self.project.cells)
        for planned in outlook.cells:
            path = store.path(planned.cell, "latency", planned.measures["latency"])
            measured.results.append(json.loads(path.read_text(encoding="utf-8")))
        return measured

    def _set_aside(self) -> None:
        if self.project.cells.exists():
            destination = self.project.results / f"earlier/{self._runs}"
            destination.parent.mkdir(exist_ok=True)
            self.project.cells.rename(destination)


@contextlib.contextmanager
def open_lab(name: str) -> Iterator[Lab]:
    """A lab in a folder that is removed afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=SCRATCH) as folder:
        yield Lab(Path(folder))


@contextlib.contextmanager
def _watched(launches: list[LaunchTimes]) -> Iterator[None]:
    """Record the launches of every transport that an experiment opens in `launches`."""

    def watching(device: AnyDevice, project: Project) -> Transport:
        return WatchingTransport(open_device(device, project), launches=launches)

    with patch.object(running, "open_device", watching):
        yield
