"""An experiment: all stale cells of one model on one device, measured in interleaved rounds."""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..base.errors import (
    PermanentDeviceError,
    TransientDeviceError,
    TransientError,
    TransientHostError,
)
from ..base.files import write_atomically
from ..base.locking import file_lock, machine_lock_path
from ..base.project import Project
from ..base.records import Record, read_record
from ..devices import Transport, open_device, patience_s, refuse_low_battery
from ..devices.activity import ATTENTION, IDLE, DeviceState
from ..measures import all_measures
from ..measures.hosts import host_of
from ..measures.launches import is_emulated
from ..planning.plan import ExperimentStep, Plan, PlannedCell
from ..store.results import Store
from . import peak
from .deployment import Deployment, model_id
from .gates import Gates
from .host_share import HostShare
from .journal import Journal
from .launch import Setting, cores_of, launch
from .patience import Patience
from .progress import Progress
from .rounds import round_order
from .running_cell import Running
from .speed import DeviceSpeed
from .summarising import Result, first_bad

SCHEMA = 3


class Experiment:
    """Measures one model on one device under a frozen plan.

    Args:
        step: which of the plan's experiments.
    """

    def __init__(
        self,
        project: Project,
        plan: Plan,
        step: ExperimentStep,
        log: Path | None = None,
    ) -> None:
        self.project = project
        self.plan = plan
        self.step = step
        self.device = step.device
        self.model = step.model
        self.name = f"{plan.id}/{step.id}"
        self.protocol = plan.protocol
        #: Names this process for ever; its id does not: a container that starts again gives the same ones.
        self.session = secrets.token_hex(8)
        self.store = Store(project.cells)
        self.cells = [plan.cells[position] for position in step.cells]
        results: dict[str, list[list[Path]]] = {}
        for planned in plan.cells:
            paths = [
                self.store.path(planned.cell, measure, planned.measures[measure])
                for measure in planned.stale
            ]
            results.setdefault(planned.cell.device, []).append(paths)
        least = sum(
            host_of(measure).min_launches(self.settings(measure))
            for measure in self.protocol.measures
        )
        state = DeviceState(project, self.device)
        self.progress = Progress(self.model, self.device, results, least, state, log)

    def settings(self, measure: str) -> Any:
        """The protocol's settings of a measure."""
        return host_of(measure).settings(self.protocol.measures[measure])

    @property
    def tolerance(self) -> float:
        """How far the device's speed may depart before a latency is doubted, as a share."""
        settings = (self.settings(measure) for measure in self.protocol.measures)
        return max((getattr(own, "target_half_width", 0.0) for own in settings), default=0.0)

    def run(self) -> None:
        """Measure what is still without a result; write the experiment's record at the end.

        A device that drops out does not hold up the others: the record says so, and what was
        finished is kept.

        Raises:
            TransientHostError: this machine cannot go on.
        """
        description = self.plan.devices[self.device]
        transport = open_device(description, self.project)
        patience = Patience(patience_s(description), self.progress.note)
        name = "host" if transport.is_host else f"device-{self.device}"
        with file_lock(machine_lock_path(name), on_wait=self.progress.waiting) as lock:
            told: dict[str, Any] = {"started_at": _now()}
            try:
                self._measure(transport, lock, patience, told)
            except (TransientDeviceError, PermanentDeviceError) as error:
                told |= {"lost": str(error), "may_come_back": isinstance(error, TransientError)}
                self.progress.note(f"given up: {error}")
            except OSError as error:
                raise TransientHostError(
                    f"a result could not be written: {error.strerror} ({error.filename}); "
                    "what was measured so far is kept: make room and start again"
                ) from error
            finally:
                transport.release_control()
                transport.close()
                self.progress.close(ATTENTION if "lost" in told else IDLE, told.get("lost"))
            self._write_record(told)

    def _measure(
        self, transport: Transport, lock: int, patience: Patience, told: dict[str, Any]
    ) -> None:
        """All rounds; what is found out on the way goes to `told`, which outlives an error."""
        with HostShare(not transport.is_host, self.progress.waiting_for_host) as share:
            # which puts a governor back that a killed run has left
            patience(share.during(transport.prepare))
            facts = patience(share.during(transport.facts))
            told["device_facts"] = dict(facts)
            refuse_low_battery(self.plan.devices[self.device], facts)
            governor = self.protocol.governor
            told["control"] = patience(share.during(lambda: transport.take_control(governor)))
            measuring = _Measuring(self, transport, facts, lock, patience)
            measuring.deploy_all(share)
        told["rounds"] = measuring.orders
        try:
            measuring.run()
        finally:
            told["waited_s"] = measuring.gates.waited_s
            told["speed"] = measuring.speed.as_dict(self.tolerance)

    def commit(
        self,
        planned: PlannedCell,
        results: Sequence[Result],
        facts: Mapping[str, Any],
        **more: Any,
    ) -> None:
        """Put the results of a cell into the store."""
        cell = planned.cell
        artifact = read_record(self.project.root / planned.artifact)
        for result in results:
            key = planned.measures[result.measure]
            if self.store.has(cell, result.measure, key):
                continue  # an earlier attempt at this plan was killed between two results
            header = {
                "schema": SCHEMA,
                "key": key,
                "measure": result.measure,
                "cell": cell.as_dict(),
                "causes": planned.causes[result.measure],
                "status": result.status,
                "reason": result.reason,
                "flags": list(result.flags),
                "measured_at": _now(),
                "experiment": self.name,
            }
            body = {
                "protocol": self.plan.protocol_name,
                "settings": self.protocol.common() | self.protocol.measures[result.measure],
                "columns": dict(result.columns),
                "emulated": is_emulated(result.launches),
                "artifact_bytes": artifact.bytes if artifact else None,
                "artifact_seconds": artifact.seconds if artifact else None,
                "ids": {
                    "model": model_id(planned),
                    "artifact": planned.artifact.rpartition("/")[2],
                },
                "device_facts": dict(facts),
                "log": result.log,
                "launches": list(result.launches),
                **result.more,
                **more,
            }
            self.store.commit(cell, result.measure, key, header, body)
        essential = [result for result in results if all_measures()[result.measure].essential]
        worst = next((x for x in essential if x.status != "ok"), (essential or list(results))[0])
        flags = sorted({flag for result in results for flag in result.flags})
        latency = next(
            (x.columns["latency_ms"] for x in results if "latency_ms" in x.columns), None
        )
        self.progress.finished(cell, worst.status, worst.reason, flags, latency)

    def _write_record(self, told: Mapping[str, Any]) -> None:
        statuses: dict[str, dict[str, str]] = {}
        for planned in self.cells:
            for measure, key in planned.measures.items():
                if self.store.has(planned.cell, measure, key):
                    header = self.store.header(planned.cell, measure, key)
                    statuses.setdefault(planned.key, {})[measure] = header["status"]
        document = {
            "plan": self.plan.id,
            "device": self.device,
            "model": self.model,
            "ended_at": _now(),
            "seed": self.protocol.seed,
            **told,
            "cells": statuses,
        }
        write_atomically(
            self.project.root / self.step.output, json.dumps(document, indent=1) + "\n"
        )


class _Measuring:
    """The rounds of an experiment on a device that is ours."""

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
        #: of each round, the cells as they came (short keys)
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
        """The launches of a cell in a round: what each measure still wants of it."""
        for measure in cell.measures:
            if self._is_finished(cell, measure):
                continue
            settings = self.experiment.settings(measure)
            for mode in host_of(measure).due(cell.taken, number, settings):
                if not first_bad(cell.launches) and not cell.has_failed(measure):
                    self._launch(cell, measure, mode, number)

    def _is_finished(self, cell: Running, measure: str) -> bool:
        """Whether a measure needs no further round."""
        settings = self.experiment.settings(measure)
        finished = host_of(measure).is_finished(cell.launches, settings, cell.planned.key)
        return finished or cell.has_failed(measure)

    def deploy_all(self, share: HostShare) -> None:
        """The cells to launch, by key; those that cannot run at all are committed here."""
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
                refused = [
                    Result(measure, deployed.status, deployed.reason, log=deployed.log)
                    for measure in planned.stale
                ]
                experiment.commit(planned, refused, self.facts)
                continue
            fastest_ms = deployment.fastest_ms(planned, deployed)
            journal = Journal(experiment.project.journal(experiment.device, planned.key))
            launches = journal.read()
            for launched in launches:
                self.speed.add(planned.cell.threads, launched.get("gate") or {})
            self.running[planned.key] = Running(planned, deployed, fastest_ms, journal, launches)

    def _measure_peak(self) -> None:
        """What bounds the device; of each number of threads a few times in its life."""
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
            done = launch(
                self.setting,
                running.deployed,
                cell,
                mode=mode,
                measure=measure,
                asked=host.request(settings, self.protocol.launch_timeout_s),
                cores=cores,
                scratch=f"launches/{key}-{self.experiment.session}",
                idle_w=gate.get("idle_w"),
            )
            return {"gate": gate} | done

        # What a device measured that was lost meanwhile does not count.
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
        """Take what follows the rounds, and commit, of the cells that need no further round."""
        for key, cell in list(self.running.items()):
            unfinished = not all(self._is_finished(cell, measure) for measure in cell.measures)
            if unfinished and not first_bad(cell.launches):
                continue
            self._close(cell)
            self._commit(cell)
            cell.journal.remove()
            del self.running[key]

    def _close(self, cell: Running) -> None:
        """The launches that follow the rounds."""
        last = max((launch["round"] for launch in cell.launches), default=0)
        emulated = bool(self.facts.get("emulated")) or cell.is_emulated(self.experiment.store)
        for measure in cell.measures:
            settings = self.experiment.settings(measure)
            for mode in host_of(measure).after_rounds(settings, emulated):
                if not first_bad(cell.launches) and not cell.taken[mode]:
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
            least = sum(
                host_of(measure).min_launches(self.experiment.settings(measure))
                for measure in cell.measures
            )
            left += max(1, least - len(cell.launches))
        return left


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
