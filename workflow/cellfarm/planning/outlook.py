"""The outlook: the cells of a configuration, their keys, which are stale and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from ..base.cells import Cell
from ..base.digests import code_digest, digest
from ..base.errors import OutOfServiceError, PermanentError, TransientError, UserError
from ..base.project import PACKAGE, Project
from ..envs.environments import ensure_locks
from ..libraries import all_libraries, resolve
from ..measures import all_measures
from ..measures.hosts import host_of
from ..store.results import Stamp, Store, read_header, stamps_digest
from ..wanted.configuration import Configuration
from ..wanted.recipes import Recipe
from . import keys
from .causes import Causes
from .chains import Chains
from .device_facts import read_all_facts
from .matrix import expand
from .needs import Needs, needs_of, refusal_of
from .plan import Current, PlannedCell
from .unchanged import Seen, recall, remember

NEW = "no result yet"
Skipped = Mapping[str, PermanentError | TransientError]


@dataclass(frozen=True)
class Planned:
    """Every wanted cell, and how the store was when they were planned.

    Args:
        stamps: of all wanted results (see Store.stamps).
        folders: of all cells (see Store.changed_ns).
    """

    cells: list[PlannedCell]
    stamps: list[Stamp]
    folders: dict[str, int]


@dataclass(frozen=True)
class Outlook:
    """Everything that a configuration asks for, and what of it has no result.

    Args:
        facts: of the devices that anything is known of.
        skipped: devices that this run does without, each with the reason.
        seen: how the store was when every cell last had all its results, if nothing changed since.
            Cells are then planned for who asks for them.
    """

    configuration: Configuration
    planner: Planner
    facts: Mapping[str, dict[str, Any]]
    skipped: Skipped
    seen: Seen | None = None

    @property
    def chains(self) -> Chains:
        return self.planner.chains

    @cached_property
    def planned(self) -> Planned:
        return self.planner.plan_all()

    @property
    def cells(self) -> list[PlannedCell]:
        return self.planned.cells

    @property
    def count(self) -> int:
        """How many cells are wanted."""
        return len(self.seen.folders) if self.seen else len(self.cells)

    @cached_property
    def unmeasured(self) -> list[PlannedCell]:
        """The cells that lack a result, those of skipped devices as well."""
        return [] if self.seen else [planned for planned in self.cells if planned.stale]

    @cached_property
    def stale(self) -> list[PlannedCell]:
        """The cells that this run measures."""
        return [planned for planned in self.unmeasured if planned.cell.device not in self.skipped]

    @property
    def left_undone(self) -> dict[str, PermanentError | TransientError]:
        """Of the skipped devices those that have stale cells and are not out of service on purpose."""
        stale = {planned.cell.device for planned in self.unmeasured}
        # Of a device of which nothing was ever read no cell is planned, and none measured.
        stale |= self.skipped.keys() - self.facts.keys()
        return {
            name: error
            for name, error in self.skipped.items()
            if name in stale and not isinstance(error, OutOfServiceError)
        }

    @cached_property
    def experiments(self) -> dict[tuple[str, str], list[PlannedCell]]:
        groups: dict[tuple[str, str], list[PlannedCell]] = {}
        for planned in self.stale:
            groups.setdefault((planned.cell.device, planned.cell.model), []).append(planned)
        return groups

    @cached_property
    def current(self) -> str:
        """The digest of what is wanted: it decides which results are current."""
        if self.seen:
            return self.seen.current
        return digest(sorted(planned.key for planned in self.cells))

    @cached_property
    def stored(self) -> str:
        """The digest of which wanted results are stored, and since when."""
        if self.seen:
            return self.seen.stored
        return stamps_digest(self.planned.stamps)

    def wanted(self) -> Current:
        """What is wanted now, for whoever loads the warehouse."""
        cells = [(planned.cell, planned.key, planned.measures) for planned in self.cells]
        return Current(cells, dict(self.facts))


def look(project: Project, configuration: Configuration) -> Outlook:
    """Plan a configuration; reads small files only.

    Raises:
        UserError: an unknown library or version, an exclude entry that matches nothing.
    """
    facts, skipped = read_all_facts(project, configuration)
    planner = Planner(project, configuration, facts, skipped)
    outlook = Outlook(configuration, planner, facts, skipped, planner.recall())
    if outlook.seen is None and not outlook.unmeasured:
        planner.remember(outlook)
    return outlook


class Planner:
    """Plans cells; what several cells share is worked out once."""

    def __init__(
        self,
        project: Project,
        configuration: Configuration,
        facts: Mapping[str, dict[str, Any]],
        skipped: Skipped,
    ) -> None:
        self._project = project
        self._configuration = configuration
        self._facts = facts
        self._skipped = skipped
        self._store = Store(project.cells)
        self.chains = Chains(project, configuration)
        self._causes = Causes(project, configuration, facts, self.chains)
        self._needs: dict[tuple[str, str, str, str | None], Needs] = {}
        # Of a device that nothing is known of the cells are told apart and then left out.
        self._cores = dict.fromkeys(configuration.devices, 1) | {
            name: int(known["cores"]) for name, known in facts.items()
        }
        self._measures = {
            name: tuple(
                measure for measure in configuration.protocol.measures if _is_asked(measure, recipe)
            )
            for name, recipe in configuration.models.items()
        }

    @cached_property
    def _matrix(self) -> str:
        """The digest of all that decides which cells and measures are wanted."""
        versions = {name: library.default_version for name, library in all_libraries().items()}
        return digest(
            [
                msgspec.to_builtins(self._configuration.config),
                versions, self._cores, sorted(self._facts), self._measures,
                code_digest(PACKAGE / "planning", PACKAGE / "base", PACKAGE / "store"),
            ]
        )  # fmt: skip

    def recall(self) -> Seen | None:
        """The store as it was when it held every wanted result, if nothing has changed since."""
        return recall(self._project, self._matrix, self._causes)

    def remember(self, outlook: Outlook) -> None:
        """Note that every cell has all its results."""
        causes = sorted(self._causes.digests.items())
        seen = Seen(self._matrix, causes, outlook.planned.folders, outlook.current, outlook.stored)
        remember(self._project, seen)

    def plan_all(self) -> Planned:
        """
        Raises:
            UserError: an unknown library or version, an exclude entry that matches nothing, no cell.
        """
        where = self._configuration.where
        try:
            cells = expand(self._configuration.config, resolve, self._cores, where)
        except UserError as error:
            raise UserError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
        if not cells:
            raise UserError(f"{where}: exclude takes away every cell: there is nothing to measure")
        cells = [cell for cell in cells if cell.device in self._facts]
        if not cells:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._skipped.items())
            raise UserError(f"{where}: no device can be used ({reasons})")
        ensure_locks(
            self._project, sorted({(cell.library, cell.library_version) for cell in cells})
        )
        # A change after this counts as one that came later.
        folders = self._store.changed_ns(cell.folder for cell in cells)
        stamps: list[Stamp] = []
        return Planned([self._plan(cell, stamps) for cell in cells], stamps, folders)

    def _plan(self, cell: Cell, all_stamps: list[Stamp]) -> PlannedCell:
        """A cell; its results' stamps are added to the others."""
        program, artifact = self.chains.converted(
            cell.model, cell.variant, cell.library, cell.library_version
        )
        device, facts = self._configuration.devices[cell.device], self._facts[cell.device]
        place = (cell.device, cell.library, cell.library_version, artifact.source_format)
        if place not in self._needs:
            self._needs[place] = needs_of(
                device, facts, cell.library, cell.library_version, artifact.source_format
            )
        folder = cell.folder
        measures = {
            measure: keys.result_key(folder, measure, self._causes.text(cell, measure))
            for measure in self._measures[cell.model]
        }
        stamps = self._store.stamps(cell, measures)
        all_stamps += [(key, stamps[measure]) for measure, key in measures.items()]
        causes = {
            measure: self._causes.of(cell, measure)
            for measure, stamp in stamps.items()
            if not stamp
        }
        library, variant = all_libraries()[cell.library], self._configuration.variants[cell.variant]
        return PlannedCell(
            cell=cell,
            key=keys.cell_key(measures),
            measures=measures,
            model=program.step.folder,
            artifact=artifact.folder,
            needs=self._needs[place],
            refusal=refusal_of(cell, variant, library, device, facts, artifact.tools),
            stale={
                measure: _reason(cell, measure, own, self._store) for measure, own in causes.items()
            },
            causes=causes,
        )


def _is_asked(measure: str, recipe: Recipe) -> bool:
    """Whether a model is asked a measure's question."""
    tasks = all_measures()[measure].tasks
    if tasks and recipe.task not in tasks:
        return False
    return host_of(measure).applies(labelled=recipe.labelled is not None)


def _reason(cell: Cell, measure: str, causes: Mapping[str, str], store: Store) -> str:
    """Why a measure of a cell has no result under its key: what differs from the newest that it does
    have."""
    for path in reversed(store.older(cell, measure)):
        try:
            before = read_header(path)["causes"]
        except (OSError, ValueError, KeyError):
            continue
        return keys.changes(before, causes) or "a retry was asked for"
    return "new version of the library" if store.other_versions(cell) else NEW
