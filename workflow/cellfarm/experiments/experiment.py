"""An experiment: all stale cells of one model on one device, measured in interleaved rounds."""

from __future__ import annotations

import datetime
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

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
from ..planning.plan import ExperimentStep, Plan, PlannedCell
from ..store.results import Store
from . import peak
from .deployment import Deployment, model_id
from .gates import Gates
from .host_share import HostShare
from .journal import Journal
from .launch import Deployed, Setting, cores_of, launch
from .patience import Patience
from .progress import Progress
from .rounds import MEASURE, UNTIMED, due, round_order
from .speed import DeviceSpeed
from .summary import Terms, closing_modes, first_bad, is_emulated, is_finished, of_mode, summarise

SCHEMA = 2


@dataclass
class Running:
    """A cell that is being measured."""

    planned: PlannedCell
    deployed: Deployed
    terms: Terms
    journal: Journal
    launches: list[dict[str, Any]]


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
        self.protocol: dict[str, Any] = plan.protocol
        #: Names this process for ever; its id does not: a container that starts again gives the same ones.
        self.session = secrets.token_hex(8)
        self.store = Store(project.cells)
        self.cells = [plan.cells[position] for position in step.cells]
        results: dict[str, list[Path]] = {}
        for planned in plan.cells:
            path = self.store.path(planned.cell, planned.key)
            results.setdefault(planned.cell.device, []).append(path)
        least = int(self.protocol["launches"]["min"])
        state = DeviceState(project, self.device)
        self.progress = Progress(self.model, self.device, results, least, state, log)

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
            governor = self.protocol["governor"]
            told["control"] = patience(share.during(lambda: transport.take_control(governor)))
            measuring = _Measuring(self, transport, facts, lock, patience)
            measuring.deploy_all(share)
        told["rounds"] = measuring.orders
        try:
            measuring.run()
        finally:
            told["waited_s"] = measuring.gates.waited_s
            told["speed"] = measuring.speed.as_dict(self.protocol["target_half_width"])

    def commit(
        self,
        planned: PlannedCell,
        result: Mapping[str, Any],
        launches: list[dict[str, Any]],
        facts: Mapping[str, Any],
        **more: Any,
    ) -> None:
        """Put the result of a cell into the store."""
        cell = planned.cell
        artifact = read_record(self.project.root / planned.artifact)
        header = {
            "schema": SCHEMA,
            "key": planned.key,
            "cell": cell.as_dict(),
            "causes": planned.causes,
            "status": result["status"],
            "reason": result["reason"],
            "flags": result["flags"],
            "measured_at": _now(),
            "experiment": self.name,
        }
        body = {
            "protocol": self.plan.protocol_name,
            "protocol_settings": self.protocol,
            "summary": result["summary"],
            "emulated": is_emulated(launches),
            "artifact_bytes": artifact.bytes if artifact else None,
            "artifact_seconds": artifact.seconds if artifact else None,
            "ids": {"model": model_id(planned), "artifact": planned.artifact.rpartition("/")[2]},
            "device_facts": dict(facts),
            "log": result["log"],
            "launches": launches,
            **more,
        }
        self.store.commit(cell, planned.key, header, body)
        self.progress.finished(cell, result)

    def _write_record(self, told: Mapping[str, Any]) -> None:
        statuses = {
            planned.key: self.store.header(planned.cell, planned.key)["status"]
            for planned in self.cells
            if self.store.has(planned.cell, planned.key)
        }
        document = {
            "plan": self.plan.id,
            "device": self.device,
            "model": self.model,
            "ended_at": _now(),
            "seed": self.protocol["seed"],
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
        keys = sorted(one.key for one in self.experiment.cells)
        seed = f"{self.protocol['seed']}/{self.experiment.device}/{self.experiment.model}"
        cold = self.protocol["cold_cache"]["launches"]
        number = 0
        self._finish()
        self.progress.begin(len(self.running), self._launches_left())
        while self.running:
            order = round_order(keys, seed, number)
            self.orders.append([key[:8] for key in order])
            taken = {
                key: Counter(launch["mode"] for launch in one.launches)
                for key, one in self.running.items()
            }
            for key, mode in list(due(order, taken, number, cold)):
                one = self.running[key]
                if not one.launches or one.launches[-1]["status"] == "ok":
                    self._launch(one, mode, number)
            self._finish()
            number += 1
        try:
            self.speed.save()
        except OSError as error:  # the results are there; only later experiments would use this
            self.progress.note(f"the calibration could not be kept: {error.strerror}")

    def deploy_all(self, share: HostShare) -> None:
        """The cells to launch, by key; those that cannot run at all are committed here."""
        experiment = self.experiment
        deployment = Deployment(
            experiment.project, experiment.plan, self.setting.transport, self.facts,
            self.progress.deployed,
        )  # fmt: skip
        for planned in experiment.cells:
            if experiment.store.has(planned.cell, planned.key):
                continue
            deployed = self.patience(share.during(partial(deployment.deploy, planned)))
            if isinstance(deployed, Record):
                refusal: dict[str, Any] = {"status": deployed.status, "reason": deployed.reason,
                           "summary": {}, "flags": [], "log": deployed.log}  # fmt: skip
                experiment.commit(planned, refusal, [], self.facts)
                continue
            tolerance = msgspec.to_builtins(experiment.plan.tolerances[planned.cell.variant])
            terms = Terms(self.protocol, tolerance, deployment.fastest_ms(planned, deployed))
            journal = Journal(experiment.project.journal(experiment.device, planned.key))
            launches = journal.read()
            for launched in launches:
                self.speed.add(planned.cell.threads, launched.get("gate") or {})
            self.running[planned.key] = Running(planned, deployed, terms, journal, launches)

    def _measure_peak(self) -> None:
        """What bounds the device; of each number of threads a few times in its life."""
        deployed = {
            one.planned.cell.threads: one.deployed
            for one in self.running.values()
            if one.planned.cell.processor == "cpu" and one.deployed.tool is None
        }
        path = self.experiment.project.peak(self.experiment.device)
        note = self.progress.note
        peak.measure_missing(path, self.setting, self.facts, deployed, self.patience, note)

    def _launch(self, one: Running, mode: str, number: int) -> None:
        cell = one.planned.cell
        self.progress.measuring(cell, number, mode)
        cores = cores_of(self.protocol, self.facts, cell.threads)
        # Outputs do not depend on how quiet the device is.
        timed = mode not in UNTIMED

        def attempt() -> dict[str, Any]:
            gate = self.gates.pass_through(one.deployed, cell.threads, cores) if timed else {}
            done = launch(
                self.setting,
                one.deployed,
                cell,
                mode=mode,
                cores=cores,
                scratch=f"launches/{one.planned.key}-{self.experiment.session}",
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
        one.journal.append(result)
        one.launches.append(result)
        self.progress.launched(self._launches_left(), gate)

    def _finish(self) -> None:
        """Verify, profile and commit the cells that need no further round."""
        for key, one in list(self.running.items()):
            if not is_finished(one.launches, self.protocol, key):
                continue
            labelled = one.deployed.pictures is not None
            for mode in closing_modes(one.launches, self.protocol, labelled):
                if not first_bad(one.launches) and not of_mode(one.launches, mode):
                    self._launch(one, mode, len(of_mode(one.launches, MEASURE)) - 1)
            self._commit(one)
            one.journal.remove()
            del self.running[key]

    def _commit(self, one: Running) -> None:
        result = summarise(one.launches, one.terms, one.planned.key)
        departure = self.speed.departure(
            one.planned.cell.threads, self.protocol["target_half_width"]
        )
        if departure and departure["departs"] and result["status"] in ("ok", "wrong"):
            result["flags"] = sorted([*result["flags"], "drifted"])
        self.experiment.commit(
            one.planned,
            result,
            one.launches,
            self.facts,
            payload_bytes=one.deployed.payload_bytes,
            drift=departure,
        )

    def _launches_left(self) -> int:
        """Launches of this experiment that are certain to come; there may be more."""
        least = int(self.protocol["launches"]["min"])
        left = (least - len(of_mode(one.launches, MEASURE)) for one in self.running.values())
        return sum(max(1, count) for count in left)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
