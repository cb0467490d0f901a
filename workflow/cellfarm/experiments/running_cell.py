"""A cell that is being measured, and its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..base.files import read_object
from ..measures import all_measures
from ..measures.hosts import Context, host_of
from ..measures.launches import is_emulated, of_mode
from ..planning.plan import Plan, PlannedCell
from ..store.results import Store
from .deployed import Deployed
from .journal import Journal
from .summarising import Result, summarise

LATENCY = "latency_ms"


@dataclass
class Running:
    """A cell that is being measured; `launches` are those made so far."""

    planned: PlannedCell
    deployed: Deployed
    fastest_ms: float | None
    journal: Journal
    launches: list[dict[str, Any]]

    @property
    def measures(self) -> list[str]:
        """The measures without a result yet, in their order."""
        return [name for name in all_measures() if name in self.planned.stale]

    def has_failed(self, measure: str) -> bool:
        """Whether a launch of the measure's modes failed."""
        launches = of_mode(self.launches, *host_of(measure).modes)
        return any(launch["status"] != "ok" for launch in launches)

    @property
    def launch_counts(self) -> Counter[str]:
        """Launches by mode."""
        return Counter(launch["mode"] for launch in self.launches)

    def is_emulated(self, store: Store) -> bool:
        """Whether a launch says that a software implementation of the processor does the work."""
        if self.launches:
            return is_emulated(self.launches)
        return any(document.get("emulated") for _, document in self._stored(store))

    def results(self, plan: Plan, store: Store, emulated: bool, departs: bool) -> list[Result]:
        """The results of its measures.

        Args:
            emulated: whether the device is.
            departs: whether the device is faster or slower than it was, which puts its latency in doubt.
        """
        context = Context(
            key=self.planned.key,
            tolerance=plan.tolerances[self.planned.cell.variant],
            gates=plan.protocol.gates.as_dict(),
            fastest_ms=self.fastest_ms,
            latency_ms=self._stored_latency_ms(store),
            emulated=emulated or self.is_emulated(store),
        )
        results: list[Result] = []
        for measure in self.measures:
            settings = plan.protocol.measures[measure]
            result = summarise(measure, self.launches, settings, context)
            if LATENCY in all_measures()[measure].fills:
                context = replace(context, latency_ms=result.columns.get(LATENCY))
                if departs and result.status in ("ok", "wrong"):
                    result = replace(result, flags=sorted([*result.flags, "drifted"]))
            results.append(result)
        return results

    def _stored_latency_ms(self, store: Store) -> float | None:
        """The latency of the cell if it has a result already."""
        for measure, document in self._stored(store):
            latency_ms = document["columns"].get(LATENCY)
            if LATENCY in all_measures()[measure].fills and latency_ms is not None:
                return float(latency_ms)
        return None

    def _stored(self, store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
        """The results of the cell's measures that are not measured now."""
        for measure, key in self.planned.measures.items():
            if measure not in self.planned.stale:
                document = read_object(store.path(self.planned.cell, measure, key))
                if document:
                    yield measure, document
