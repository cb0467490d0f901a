"""The rounds of an experiment: puts its cells on the device, launches them, and commits the finished ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..base.records import Record
from ..devices import Transport
from ..measures import all_measures
from ..measures.hosts import host_of
from . import peak
from .deployed import Setting
from .deployment import Deployment
from .experiment import Experiment
from .gates import Gates
from .host_share import HostShare
from .journal import Journal
from .launch import cores_of, launch
from .patience import Patience
from .rounds import round_order
from .running_cell import Running
from .speed import DeviceSpeed
from .summarising import Result, first_bad


class Measuring:
    """The rounds of an experiment on a device whose lock is held."""

    def __init__(
        self,
        experiment: Experiment,
        transport: Transport,
        facts: Mapping[str, Any],
        lock: int,
        patience: Patience,
    ) -> None:
        self.experiment = experiment
        self.protocol = experiment.protocol
        self.progress = experiment.progress
        self.patience = patience
        self.facts = facts
        #: the cells of each round in their order, by short key
        self.orders: list[list[str]] = []
        self.setting = Setting(transport, experiment.protocol, lock)
        self.speed = DeviceSpeed.open(
            experiment.project.calibration(experiment.device), experiment.name, facts
        )
        self.gates = Gates(self.setting, self.progress.gate, self.speed.resting_c)
        self.running: dict[str, Running] = {}

    def run(self) -> None:
        """Rounds until every cell is finished."""
        self._measure_peak()
        keys = sorted(planned.key for planned in self.experiment.cells)
        seed = f"{self.protocol.seed}/{self.experiment.device}/{self.experiment.model}"
        number = 0
        self._finish()
        self.progress.begin(len(self.running), self._launches_left())
        while self.running:
            order = round_order(keys, seed, number)
            self.orders.append([key[:8] for key in order])
            for key in order:
                if key in self.running:
                    self._take_turn(self.running[key], number)
            self._finish()
            number += 1
        try:
            self.speed.save()
        except OSError as error:  # the results are there; only later experiments would use this
            self.progress.note(f"the calibration could not be kept: {error.strerror}")

    def _take_turn(self, cell: Running, number: int) -> None:
        """Make the launches of a cell in a round that its measures still need."""
        for measure in cell.measures:
            if self._is_finished(cell, measure):
                continue
            settings = self.experiment.settings(measure)
            for mode in host_of(measure).due(cell.launch_counts, number, settings):
                if not first_bad(cell.launches) and not cell.has_failed(measure):
                    self._launch(cell, measure, mode, number)

    def _is_finished(self, cell: Running, measure: str) -> bool:
        """Whether a measure needs no further round."""
        settings = self.experiment.settings(measure)
        finished = host_of(measure).is_finished(cell.launches, settings, cell.planned.key)
        return finished or cell.has_failed(measure)

    def deploy_all(self, share: HostShare) -> None:
        """Put all cells on the device; commit those that cannot run at all."""
        experiment = self.experiment
        deployment = Deployment(
            experiment.project, experiment.plan, self.setting.transport, self.facts,
            self.progress.deployed,
        )  # fmt: skip
        for planned in experiment.cells:
            if all(
                experiment.store.has(planned.cell, measure, planned.measures[measure])
                for measure in planned.stale
            ):
                continue
            deployed = self.patience(share.during(partial(deployment.deploy, planned)))
            if isinstance(deployed, Record):
                results = [
                    Result(measure, deployed.status, deployed.reason, log=deployed.log)
                    for measure in planned.stale
                ]
                experiment.commit(planned, results, self.facts)
                continue
            fastest_ms = deployment.fastest_ms(planned, deployed)
            journal = Journal(experiment.project.journal(experiment.device, planned.key))
            launches = journal.read()
            for launched in launches:
                self.speed.add(planned.cell.threads, launched.get("gate") or {})
            self.running[planned.key] = Running(planned, deployed, fastest_ms, journal, launches)

    def _measure_peak(self) -> None:
        """Measure the device's peak where it is not known well enough yet."""
        deployed = {
            cell.planned.cell.threads: cell.deployed
            for cell in self.running.values()
            if cell.planned.cell.processor == "cpu" and cell.deployed.tool is None
        }
        path = self.experiment.project.peak(self.experiment.device)
        note = self.progress.note
        peak.measure_missing(path, self.setting, self.facts, deployed, self.patience, note)

    def _launch(self, running: Running, measure: str, mode: str, number: int) -> None:
        cell, key = running.planned.cell, running.planned.key
        self.progress.measuring(cell, number, mode)
        cores = cores_of(self.protocol, self.facts, cell.threads)
        # Outputs do not depend on how quiet the device is.
        timed = all_measures()[measure].timed
        host, settings = host_of(measure), self.experiment.settings(measure)

        def attempt() -> dict[str, Any]:
            gate = self.gates.pass_through(running.deployed, cell.threads, cores) if timed else {}
            record = launch(
                self.setting,
                running.deployed,
                cell,
                mode=mode,
                measure=measure,
                measure_request=host.request(settings, self.protocol.launch_timeout_s),
                cores=cores,
                scratch=f"launches/{key}-{self.experiment.session}",
                idle_w=gate.get("idle_w"),
            )
            return {"gate": gate} | record

        # A launch during which the device was lost is made again.
        header: dict[str, Any] = {"round": number, "session": self.experiment.session}
        result = header | self.patience(attempt)
        if self.patience.lost:
            result["lost"] = self.patience.lost
        gate = result["gate"]
        if self.facts.get("emulated"):
            result["emulated"] = True
        self.speed.add(cell.threads, gate)
        running.journal.append(result)
        running.launches.append(result)
        self.progress.launched(self._launches_left(), gate)

    def _finish(self) -> None:
        """Close and commit the cells that need no further round."""
        for key, cell in list(self.running.items()):
            unfinished = not all(self._is_finished(cell, measure) for measure in cell.measures)
            if unfinished and not first_bad(cell.launches):
                continue
            self._close(cell)
            self._commit(cell)
            cell.journal.remove()
            del self.running[key]

    def _close(self, cell: Running) -> None:
        """Make the launches that follow the rounds."""
        last = max((launch["round"] for launch in cell.launches), default=0)
        emulated = bool(self.facts.get("emulated")) or cell.is_emulated(self.experiment.store)
        for measure in cell.measures:
            settings = self.experiment.settings(measure)
            for mode in host_of(measure).after_rounds(settings, emulated):
                if not first_bad(cell.launches) and not cell.launch_counts[mode]:
                    self._launch(cell, measure, mode, last)

    def _commit(self, cell: Running) -> None:
        tolerance = self.experiment.tolerance
        departure = self.speed.departure(cell.planned.cell.threads, tolerance)
        results = cell.results(
            self.experiment.plan,
            self.experiment.store,
            emulated=bool(self.facts.get("emulated")),
            departs=bool(departure and departure["departs"]),
        )
        self.experiment.commit(
            cell.planned,
            results,
            self.facts,
            payload_bytes=cell.deployed.payload_bytes,
            drift=departure,
        )

    def _launches_left(self) -> int:
        """Launches of this experiment that are certain to come; there may be more."""
        left = 0
        for cell in self.running.values():
            least = self.experiment.min_launches(cell.measures)
            left += max(1, least - len(cell.launches))
        return left
