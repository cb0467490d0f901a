"""What the Snakefile asks: which files to make, and what each of them is made from."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ..base.digests import code_digest, digest
from ..base.errors import (
    PermanentDeviceError,
    PermanentError,
    TransientDeviceError,
    TransientError,
    UserError,
)
from ..base.files import read_object, write_atomically
from ..base.project import PACKAGE, Project
from ..devices import open_device
from ..measures import files as measure_files
from ..planning.freezing import freeze
from ..planning.outlook import Outlook, look
from ..planning.plan import Current, Plan, has_current, load_current, save, save_current
from ..planning.plan import load as load_plan
from ..store.results import Store, stamps_digest
from ..wanted.configuration import load, load_file

STATE = "state.json"
#: The plan of the run that is at work, for the processes that an executor starts for its jobs.
RUNNING = "running.json"


class Pipeline:
    """One reading of the Snakefile.

    Args:
        is_main: whether this process plans the run. One that an executor started for a job reads the
            plan of the run that it is part of.
    """

    def __init__(
        self, config: Mapping[str, Any], where: str = "config/config.yaml", is_main: bool = True
    ) -> None:
        self.project = Project.here()
        self.configuration = load(self.project, config, where)
        self._running = None if is_main else running_plan(self.project)
        if self._running is None:
            self._check_devices()

    @cached_property
    def outlook(self) -> Outlook:
        return look(self.project, self.configuration)

    @cached_property
    def plan(self) -> Plan | None:
        """The frozen plan of this run; None when nothing is stale."""
        if self._running is not None:
            return self._running
        if not self.outlook.stale:
            return None
        for attempt in itertools.count():
            plan = freeze(self.outlook, attempt)
            # A record of an experiment whose cells are stale is one of an earlier attempt.
            if not (self.project.results / "experiments" / plan.id).exists():
                break
        save(self.project, plan)
        return plan

    def announce(self) -> None:
        """Write down which plan is at work; the pipeline's lock is held."""
        plan = self.plan.id if self.plan else None
        write_atomically(self.project.plans / RUNNING, json.dumps({"plan": plan}) + "\n")

    def refuse_without_devices(self) -> None:
        """
        Raises:
            UserError: cells are stale, and none of the devices can be used.
        """
        skipped = self.outlook.skipped
        if self.outlook.unmeasured and skipped.keys() >= self.configuration.devices.keys():
            reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
            raise UserError(f"{self.configuration.where}: no device can be used ({reasons})")

    def _check_devices(self) -> None:
        """Refuse a folder that cannot be written now, not after an hour of conversions."""
        for name in sorted({planned.cell.device for planned in self.outlook.stale}):
            transport = open_device(self.configuration.devices[name], self.project)
            if not transport.is_host:
                continue  # a plan does not wait for a connection
            try:
                transport.check()
            except PermanentDeviceError as error:
                raise UserError(f"devices/{name}.yaml: {error}") from error

    # -- targets --------------------------------------------------------------------------------

    def targets(self) -> list[str]:
        """What is not up to date of the results and the report; nothing, if everything is."""
        page = self.project.reports / "index.html"
        report = report_state(self._warehouse_wanted)
        up_to_date = self._state.get("report") == report and page.is_file()
        if up_to_date and not self.measured_targets():
            return []
        return [self._stamp([report, page.is_file()], "report")]

    def measured_targets(self) -> list[str]:
        """The same without the report."""
        up_to_date = (
            not self.outlook.stale
            and self._state.get("warehouse") == self._warehouse_wanted
            and self.project.warehouse.is_file()
        )
        return [] if up_to_date else [self._stamp([], "warehouse")]

    def converted_targets(self) -> list[str]:
        """What the stale cells are measured with: run environments and the records of artifacts."""
        if self.plan is None:
            return []
        inputs = (name for step in self.plan.experiment.values() for name in step.inputs)
        return list(dict.fromkeys(inputs))

    def is_measured(self) -> bool:
        """Whether every cell has a result by now, or its device dropped out: not so after
        `snakemake converted`."""
        store, lost = Store(self.project.cells), self.lost()
        return all(
            planned.cell.device in lost
            or store.has(planned.cell, measure, planned.measures[measure])
            for planned in self.outlook.stale
            for measure in planned.stale
        )

    def lost(self) -> dict[str, PermanentError | TransientError]:
        """The devices that this run could not use or that dropped out of it, and why."""
        lost = dict(self.outlook.left_undone)
        for path in self.experiments():
            record = read_object(self.project.root / path) or {}
            if "lost" in record:
                kind = TransientDeviceError if record["may_come_back"] else PermanentDeviceError
                lost[record["device"]] = kind(record["lost"])
        return lost

    @cached_property
    def _state(self) -> dict[str, Any]:
        return read_state(self.project)

    @cached_property
    def _warehouse_wanted(self) -> str:
        return warehouse_state(self.outlook.stored)

    def _stamp(self, more: list[Any], kind: str) -> str:
        """A file that does not exist yet in this situation, and will when `kind` is up to date."""
        if not has_current(self.project, self.outlook.current):
            save_current(self.project, self.outlook.current, self.outlook.wanted())
        situation = digest([self._state, self._warehouse_wanted, *more])
        return f"results/stamps/{self.outlook.current}-{situation}.{kind}"

    # -- rules ----------------------------------------------------------------------------------

    def experiments(self) -> list[str]:
        """The records of the experiments that this run measures."""
        return [step.output for step in self.plan.experiment.values()] if self.plan else []

    def inputs(self, kind: str, step_id: str) -> list[str]:
        """The records that a step needs."""
        return list(self._plan.step(kind, step_id).inputs)

    def job(self, kind: str, plan: str | None = None) -> str:
        """What a rule's shell command begins with: this checkout's own package, the plan.

        Args:
            plan: by default the frozen plan of this run.
        """
        run = ["env", f"PYTHONPATH={PACKAGE.parent}", sys.executable, "-m", "cellfarm"]
        return shlex.join([*run, "job", kind, plan or self._plan.id])

    @property
    def _plan(self) -> Plan:
        if self.plan is None:
            raise UserError("nothing is stale: there is no plan, and no step of one")
        return self.plan

    def environments_folder(self) -> str:
        return self.project.relative(self.project.environments)

    # -- devices --------------------------------------------------------------------------------

    @cached_property
    def device_names(self) -> list[str]:
        return sorted(self.configuration.devices)

    def is_host(self, device: str) -> bool:
        return self.configuration.devices[device].is_local

    # -- words ----------------------------------------------------------------------------------

    def describe(self) -> str:
        """What will be measured and why; one line when there is nothing to do."""
        outlook = self.outlook
        total = outlook.count
        skipped = [f"  {name} is left out: {why}" for name, why in outlook.skipped.items()]
        if not outlook.stale:
            there = (
                "every cell of the other devices has"
                if outlook.unmeasured
                else f"all {total} cells have"
            )
            nothing = (
                f"cellfarm: nothing to measure: {there} a result "
                "(ranking: cellfarm summary; report: reports/index.html)."
            )
            return "\n".join([nothing, *skipped])
        lines = [f"cellfarm: {len(outlook.stale)} of {total} cells to measure:", *skipped]
        for (device, model), cells in outlook.experiments.items():
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            lines.append(f"  experiment {model} on {device}: {count}")
            for planned in cells:
                cell = planned.cell
                setting = f"{cell.variant} {cell.processor} t{cell.threads}"
                lines.append(f"    {cell.versioned_library} {setting}: {planned.reason}")
        return "\n".join(lines)


def running_plan(project: Project) -> Plan | None:
    """The plan of the run that is at work; None if it measures nothing.

    Raises:
        UserError: the plan is gone.
    """
    running = read_object(project.plans / RUNNING) or {}
    return load_plan(project, running["plan"]) if running.get("plan") else None


def latest_current(project: Project) -> Current:
    """What the warehouse was last loaded for; if nobody knows, what the default config asks for."""
    try:
        return load_current(project, str(read_state(project).get("current")))
    except UserError:
        return look(project, load_file(project)).wanted()


def warehouse_state(stored: str) -> str:
    """A digest of what the warehouse should hold of the wanted cells.

    Args:
        stored: the digest of which results are there (see Outlook.stored).
    """
    return digest([stored, code_digest(PACKAGE / "warehouse", *measure_files())])


def stored_now(project: Project, current: Current) -> str:
    """The digest of which of the wanted results are stored, and since when."""
    store = Store(project.cells)
    stamps = [
        (measures[measure], stamp)
        for cell, _, measures in current.cells
        for measure, stamp in store.stamps(cell, measures).items()
    ]
    return stamps_digest(stamps)


def report_state(warehouse: str) -> str:
    return digest([warehouse, code_digest(PACKAGE / "report", PACKAGE / "analysis")])


def write_state(project: Project, **values: Any) -> None:
    """Note what was brought up to date; the time makes every state another situation."""
    values["written_at"] = time.time()
    write_atomically(
        project.results / STATE, json.dumps(read_state(project) | values, indent=1) + "\n"
    )


def read_state(project: Project) -> dict[str, Any]:
    """What the warehouse and the report were made from; empty when they were not."""
    return read_object(project.results / STATE) or {}
