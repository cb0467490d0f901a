"""Single launches of the real runner, beside other measurements, on this machine under its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellfarm.base.locking import file_lock, machine_lock_path
from cellfarm.base.records import FILES, Record
from cellfarm.devices import Transport, open_device
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.deployment import Deployment
from cellfarm.experiments.gates import Gates
from cellfarm.experiments.launch import cores_of, launch
from cellfarm.measures.hosts import host_of
from cellfarm.planning.plan import Plan, PlannedCell
from cellfarm.wanted.protocols import Protocol

from .figures import NotMeasurable
from .lab import DEVICE, Lab
from .processes import report_wait

SCRATCH_NAME = "launches/benchmark"


@dataclass
class Direct:
    """This machine, held for the block of `open_direct`.

    Args:
        protocol: the default protocol of launches and gates.
    """

    lab: Lab
    plan: Plan
    protocol: Protocol
    transport: Transport
    facts: Mapping[str, Any]
    lock: int
    gates: Gates = field(init=False)

    def __post_init__(self) -> None:
        setting = Setting(self.transport, self.protocol, self.lock)
        self.gates = Gates(setting, lambda reason, waited_s: None)

    def subject(self, planned: PlannedCell) -> Subject:
        """Deploy a cell as an experiment does.

        Raises:
            NotMeasurable: it cannot be launched.
        """
        deployment = Deployment(
            self.lab.project, self.plan, self.transport, self.facts, lambda name: None
        )
        deployed = deployment.deploy(planned)
        if isinstance(deployed, Record):
            raise NotMeasurable(f"{planned.cell.label}: {deployed.reason}")
        return Subject(self, planned, deployed)


@dataclass(frozen=True)
class Subject:
    """One cell, deployed."""

    direct: Direct
    planned: PlannedCell
    deployed: Deployed

    @property
    def name(self) -> str:
        cell = self.planned.cell
        return f"{cell.model} {cell.library} t{cell.threads}"

    @property
    def files(self) -> Path:
        """The artifact's folder."""
        return self.direct.lab.project.root / self.planned.artifact / FILES

    @property
    def model_files(self) -> Path:
        """The folder of the model's inputs and of model.json."""
        return self.direct.lab.project.root / self.planned.model / FILES

    @property
    def cores(self) -> list[int] | None:
        """The processors of this cell's launches; None: any."""
        return cores_of(self.direct.protocol, self.direct.facts, self.planned.cell.threads)

    def gate(self) -> bool:
        """Wait, as an experiment does before a launch, until the machine is quiet and fast.

        Returns:
            Whether it is; False after waiting in vain.
        """
        gates, threads = self.direct.gates, self.planned.cell.threads
        readings = gates.pass_through(self.deployed, threads, self.cores)
        return not readings.get("exceeded") and "problem" not in readings

    def launch(self, protocol: Protocol | None = None) -> dict[str, Any]:
        """The record of one successful measuring launch.

        Raises:
            NotMeasurable: the launch failed.
        """
        direct = self.direct
        protocol = protocol or direct.protocol
        setting = Setting(direct.transport, protocol, direct.lock)
        host = host_of("latency")
        settings = host.settings(protocol.measures["latency"])
        result = launch(
            setting, self.deployed, self.planned.cell, mode="measure", measure="latency",
            measure_request=host.request(settings, protocol.launch_timeout_s), cores=self.cores,
            scratch=SCRATCH_NAME,
        )  # fmt: skip
        if result["status"] != "ok":
            raise NotMeasurable(f"{self.name}: {result['status']}: {result['reason']}")
        return result


@contextlib.contextmanager
def open_direct(lab: Lab, protocol: Protocol, **axes: Any) -> Iterator[list[Subject]]:
    """Deploy the cells of a matrix on this machine and hold its lock until the block ends."""
    outlook, plan = lab.plan(protocol, **axes)
    transport = open_device(plan.devices[DEVICE], lab.project)
    with file_lock(machine_lock_path("host"), on_wait=report_wait) as lock:
        transport.prepare()
        transport.take_control(protocol.governor)
        try:
            direct = Direct(lab, plan, protocol, transport, transport.facts(), lock)
            yield [direct.subject(planned) for planned in outlook.cells]
        finally:
            transport.release_control()
