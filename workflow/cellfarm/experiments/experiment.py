"""An experiment: all stale cells of one model on one device, measured in interleaved rounds."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import libraries
from ..causes import RUNNER, library_causes
from ..conversion import jobs
from ..core.digests import code_digest
from ..core.store import Store, write_atomically
from ..devices import Transport, open_device
from ..environments import library_environment, locate
from ..errors import InternalMismatch, TransientHostError
from ..locking import file_lock, machine_lock_path
from ..plan import PlannedCell
from ..project import Project
from .journal import Journal
from .launch import Deployed, launch
from .payload import pack
from .progress import Progress
from .rounds import due, round_order
from .summary import is_finished, summarise

SCHEMA = 1


@dataclass
class Running:
    """A cell that is being measured."""

    planned: PlannedCell
    deployed: Deployed
    journal: Journal
    launches: list[dict[str, Any]]


class Experiment:
    """Measures one model on one device under a frozen plan.

    Args:
        plan: the frozen plan's document (see cellfarm.plan.save).
    """

    def __init__(
        self,
        project: Project,
        plan: Mapping[str, Any],
        device: str,
        model: str,
        log: Path | None = None,
    ) -> None:
        self.project = project
        self.plan = plan
        self.device = device
        self.model = model
        self.protocol: dict[str, Any] = plan["protocol"]
        self.store = Store(project.cells)
        everything = [PlannedCell.from_dict(entry) for entry in plan["cells"]]
        self.cells = [
            one for one in everything if (one.cell.device, one.cell.model) == (device, model)
        ]
        results = [self.store.path(one.cell, one.key) for one in everything]
        least = int(self.protocol["launches"]["min"])
        self.progress = Progress(f"{model} on {device}", results, least, log)

    def run(self, record: Path) -> None:
        """Measure what is still without a result; write the experiment's record at the end.

        Raises:
            TransientHostError, TransientDeviceError, PermanentDeviceError: the device or this
                machine cannot be used; what was finished is kept.
        """
        transport = open_device(self.plan["devices"][self.device], self.project.root)
        name = "host" if transport.is_host else f"device-{self.device}"
        with file_lock(machine_lock_path(name), on_wait=self.progress.waiting) as lock:
            self._check_sources()
            transport.prepare()
            facts = transport.facts()
            started_at = _now()
            try:
                running = self._deploy_all(transport, facts)
                order = self._measure(transport, running, facts, lock)
            except OSError as error:
                raise TransientHostError(
                    f"a result could not be written: {error.strerror} ({error.filename}); "
                    "what was measured so far is kept: make room and start again"
                ) from error
            finally:
                self.progress.close()
            self._write_record(record, started_at, facts, order)

    def _deploy_all(self, transport: Transport, facts: Mapping[str, Any]) -> dict[str, Running]:
        """The cells to launch, by key; those that cannot run at all are committed here."""
        running = {}
        for planned in self.cells:
            if not self.store.has(planned.cell, planned.key):
                deployed = self._deploy(transport, planned, facts)
                if deployed:
                    running[planned.key] = deployed
        return running

    def _measure(
        self, transport: Transport, running: dict[str, Running], facts: dict[str, Any], lock: int
    ) -> list[list[str]]:
        """Rounds until every cell is finished; returns the order of each round (short keys)."""
        orders = []
        keys = sorted(one.key for one in self.cells)
        seed = f"{self.protocol['seed']}/{self.device}/{self.model}"
        number = 0
        self._commit_finished(running, facts)
        self.progress.begin(len(running), self._launches_left(running))
        while running:
            order = round_order(keys, seed, number)
            orders.append([key[:8] for key in order])
            taken = {key: len(one.launches) for key, one in running.items()}
            for key in list(due(order, taken, number)):
                self._launch(transport, running[key], number, lock)
                self.progress.launched(self._launches_left(running))
            self._commit_finished(running, facts)
            number += 1
        return orders

    def _launch(self, transport: Transport, one: Running, number: int, lock: int) -> None:
        cell = one.planned.cell
        self.progress.measuring(cell, number)
        result = launch(
            transport,
            one.deployed,
            processor=cell.processor,
            threads=cell.threads,
            protocol=self.protocol,
            scratch=f"launches/{one.planned.key}-{os.getpid()}",
            lock=lock,
        )
        result = {"round": number, "session": os.getpid()} | result
        one.journal.append(result)
        one.launches.append(result)

    def _commit_finished(self, running: dict[str, Running], facts: dict[str, Any]) -> None:
        for key, one in list(running.items()):
            if is_finished(one.launches, self.protocol, key):
                tolerance = self.plan["tolerances"][one.planned.cell.variant]
                result = summarise(one.launches, self.protocol, tolerance, key)
                self._commit(one.planned, result, one.launches, facts)
                one.journal.remove()
                del running[key]

    def _commit(
        self,
        planned: PlannedCell,
        result: Mapping[str, Any],
        launches: list[dict[str, Any]],
        facts: Mapping[str, Any],
    ) -> None:
        cell = planned.cell
        artifact = jobs.read_record(self._artifact(planned)) or {}
        header = {
            "schema": SCHEMA,
            "key": planned.key,
            "cell": cell.as_dict(),
            "causes": planned.causes,
            "status": result["status"],
            "reason": result["reason"],
            "measured_at": _now(),
            "experiment": f"{self.plan['id']}/{self.device}/{self.model}",
        }
        body = {
            "protocol": self.plan["protocol_name"],
            "protocol_settings": self.protocol,
            "summary": result["summary"],
            "flags": result["flags"],
            "emulated": False,
            "artifact_bytes": artifact.get("bytes"),
            "artifact_seconds": artifact.get("seconds"),
            "ids": {"model": planned.model_id, "artifact": planned.artifact_id},
            "device_facts": dict(facts),
            "log": result["log"],
            "launches": launches,
        }
        self.store.commit(cell, planned.key, header, body)
        self.progress.finished(cell, result)

    def _deploy(
        self, transport: Transport, planned: PlannedCell, facts: Mapping[str, Any]
    ) -> Running | None:
        """Put what a cell needs on the device; a cell that cannot run is committed at once."""
        refusal = self._refusal(planned)
        if refusal:
            self._commit(planned, {"summary": {}, "flags": [], "log": "", **refusal}, [], facts)
            return None
        cell = planned.cell
        library = libraries.all_libraries()[cell.library]
        model = self.project.model_folder(cell.model, planned.model_id) / jobs.FILES
        artifact = self._artifact(planned)
        for filled in (model.parent, artifact):
            jobs.check_files(filled)
        content = (jobs.read_record(artifact) or {})["content"]
        payload = pack(library.backend, self.project.results / "payloads")
        names = {
            f"payloads/{payload.name}": payload,
            f"artifacts/{content}": artifact / jobs.FILES,
            f"inputs/{planned.model_id}.npz": model / "inputs.npz",
        }
        for name, source in names.items():
            if transport.put(source, name):
                self.progress.deployed(name)
        deployed = Deployed(
            python=locate(self.project, _run_environment(planned)).python,
            payload=f"payloads/{payload.name}",
            artifact=f"artifacts/{content}",
            inputs=f"inputs/{planned.model_id}.npz",
            description=json.loads((model / "model.json").read_text(encoding="utf-8")),
            reference=_arrays(model / "reference.npz"),
            classes=self.plan["models"][cell.model]["task"] == "classification",
            variables=library.variables,
        )
        journal = Journal(self.project.journal(self.device, planned.key))
        return Running(planned, deployed, journal, journal.read())

    def _refusal(self, planned: PlannedCell) -> dict[str, Any] | None:
        """Why a cell cannot be launched at all."""
        cell = planned.cell
        library = libraries.all_libraries()[cell.library]
        if cell.variant not in library.variants:
            return _unsupported(f"{library.name} has no variant {cell.variant} in cellfarm")
        if cell.processor not in library.processors:
            return _unsupported(f"{library.name} has no processor {cell.processor} in cellfarm")
        if cell.processor not in self.plan["devices"][self.device]["processors"]:
            return _unsupported(f"device {self.device} lists no processor {cell.processor}")
        state = locate(self.project, _run_environment(planned)).state()
        if state is None or state["status"] != "ok":
            reason = state["reason"] if state else "its environment is not built"
            return {"status": "failed", "reason": f"missing library: {reason}"}
        return jobs.failure(self._artifact(planned), "conversion")

    def _artifact(self, planned: PlannedCell) -> Path:
        cell = planned.cell
        return self.project.artifact_folder(
            cell.versioned_library, cell.model, cell.variant, planned.artifact_id
        )

    def _check_sources(self) -> None:
        """The plan must still describe the code: a result must never stand under another's key."""
        for planned in self.cells:
            now = library_causes(self.project, planned.cell.library, planned.cell.library_version)
            same = (
                planned.causes["runner"] == code_digest(RUNNER)
                and planned.causes["library"] == now.runtime
                and planned.causes["converter"] == now.converter
            )
            if not same:
                raise InternalMismatch(
                    f"the sources of {planned.cell.versioned_library} or of the runner changed "
                    "since this run was planned: start it again"
                )

    def _launches_left(self, running: Mapping[str, Running]) -> int:
        """Launches of this experiment that are certain to come; there may be more."""
        least = int(self.protocol["launches"]["min"])
        return sum(max(1, least - len(one.launches)) for one in running.values())

    def _write_record(
        self, record: Path, started_at: str, facts: Mapping[str, Any], orders: list[list[str]]
    ) -> None:
        statuses: dict[str, str] = {}
        for planned in self.cells:
            statuses[planned.key] = self.store.header(planned.cell, planned.key)["status"]
        document = {
            "plan": self.plan["id"],
            "device": self.device,
            "model": self.model,
            "started_at": started_at,
            "ended_at": _now(),
            "seed": self.protocol["seed"],
            "rounds": orders,
            "device_facts": dict(facts),
            "cells": statuses,
        }
        write_atomically(record, json.dumps(document, indent=1) + "\n")


def _run_environment(planned: PlannedCell) -> str:
    return library_environment(planned.cell.library, planned.cell.library_version, "run")


def _unsupported(reason: str) -> dict[str, Any]:
    return {"status": "unsupported", "reason": reason}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
