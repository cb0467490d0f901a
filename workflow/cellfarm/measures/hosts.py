"""The host half of a measure: HOST in `host.py` of its folder. Pure.

The experiment knows no measure by name. It asks every measure for the launches that are still due, in each
round and after the rounds, and for their summary.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from msgspec import Struct, convert

from .launches import Launch, Launches, of_mode, worst_comparison
from .tolerances import Tolerance

Settings = TypeVar("Settings", bound=Struct)


@dataclass(frozen=True)
class Context:
    """What a cell's launches are judged with.

    Args:
        key: seeds random numbers.
        tolerance: when an output is right.
        gates: the protocol's limits (see cellfarm.wanted.protocols).
        fastest_ms: no inference can be faster (see cellfarm.analysis.plausibility).
        latency_ms: the cell's latency, if known.
        emulated: whether a software implementation of the processor did the work.
    """

    key: str
    tolerance: Tolerance
    gates: Mapping[str, Any] = field(default_factory=dict)
    fastest_ms: float | None = None
    latency_ms: float | None = None
    emulated: bool = False


@dataclass
class Summary:
    """The result of a measure's launches.

    Args:
        columns: those of measure.yaml; a missing column is unknown.
        violation: why the output is wrong.
        failure: why there are no numbers although every launch ended well.
        more: further values of the result, for separate tables.
    """

    columns: dict[str, Any] = field(default_factory=dict)
    violation: str | None = None
    failure: str | None = None
    flags: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


class Host(Generic[Settings]):
    """The host half of a measure, with defaults that a measure overrides."""

    #: The settings in a protocol.
    schema: type[Settings]
    #: The modes of its launches; `shared` are modes of other measures' launches that it also uses.
    modes: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def settings(self, document: Mapping[str, Any]) -> Settings:
        """The measure's settings in a protocol, which checked them when it was read."""
        return convert(dict(document), self.schema)

    def check(self, settings: Settings, launch_timeout_s: float) -> None:
        """
        Raises:
            ValueError: the settings contradict each other or the time-out; names the key.
        """

    def applies(self, labelled: bool) -> bool:
        """Whether the measure applies to a model.

        Args:
            labelled: whether it has labelled pictures.
        """
        return True

    def due(self, taken: Mapping[str, int], round: int, settings: Settings) -> tuple[str, ...]:
        """The modes of the launches that are still due in a round, counted from 0.

        Args:
            taken: number of the cell's launches so far, by mode.
        """
        return ()

    def is_finished(self, launches: Launches, settings: Settings, key: str) -> bool:
        """Whether no further round is needed."""
        return True

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        """The modes of the launches after the rounds, one launch each."""
        return ()

    def min_launches(self, settings: Settings) -> int:
        """The smallest possible number of launches in rounds."""
        return 0

    def request(self, settings: Settings, launch_timeout_s: float) -> dict[str, Any]:
        """The request to its device half, besides what every launch gets."""
        return {}

    def kept_launches(self, launches: Launches) -> list[Launch]:
        """The launches that its result keeps; of shared ones only the fields that it uses."""
        return of_mode(launches, *self.modes)

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        """The summary of its launches, all of which ended well.

        Args:
            launches: all launches of the cell.
        """
        raise NotImplementedError


def verified(launches: Launches, context: Context) -> tuple[dict[str, Any], str | None]:
    """Columns that compare the launches' outputs with the reference, and why they are wrong or None."""
    if not launches:
        return {}, None
    comparison = worst_comparison(launches)
    columns = {
        "cosine": comparison.cosine,
        "max_abs_error": comparison.max_abs_error,
        "top1_match": comparison.top1_match,
    }
    return columns, comparison.violation(context.tolerance)


def host_of(measure: str) -> Host[Any]:
    """The host half of a measure."""
    host: Host[Any] = importlib.import_module(f"cellfarm.measures.{measure}.host").HOST
    return host
