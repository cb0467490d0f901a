"""What the host half of a measure is: `host.py` in its folder has one, called HOST. Pure.

The experiment knows no measure by name. It asks each for the launches that it still wants, round by round
and after the rounds, and for what they come to.
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
    """What a cell's launches are judged by.

    Args:
        key: seeds what is drawn at random.
        tolerance: when an output is right.
        gates: the protocol's limits (see cellfarm.wanted.protocols).
        fastest_ms: what no inference can be below (see cellfarm.analysis.plausibility).
        latency_ms: the cell's latency, as far as it is known.
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
    """What the launches of a measure come to.

    Args:
        columns: those of measure.yaml; what is left out is not known.
        violation: why the output is wrong.
        failure: why there are no numbers although every launch ended well.
        more: further values of the result, for tables of their own.
    """

    columns: dict[str, Any] = field(default_factory=dict)
    violation: str | None = None
    failure: str | None = None
    flags: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


class Host(Generic[Settings]):
    """The host half of a measure. A measure overrides what it does otherwise."""

    #: The settings in a protocol.
    schema: type[Settings]
    #: The modes of its own launches; `shared` are modes of other measures' launches that it uses, too.
    modes: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def settings(self, document: Mapping[str, Any]) -> Settings:
        """A protocol's settings of the measure, which were checked when the protocol was read."""
        return convert(dict(document), self.schema)

    def check(self, settings: Settings, launch_timeout_s: float) -> None:
        """
        Raises:
            ValueError: the settings contradict each other or the time-out; names the key.
        """

    def applies(self, labelled: bool) -> bool:
        """Whether a model can be asked.

        Args:
            labelled: whether it has labelled pictures.
        """
        return True

    def due(self, taken: Mapping[str, int], number: int, settings: Settings) -> tuple[str, ...]:
        """The modes of launches that are still to be made in round `number`.

        Args:
            taken: launches of the cell so far, by mode.
        """
        return ()

    def is_finished(self, launches: Launches, settings: Settings, key: str) -> bool:
        """Whether no further round is needed."""
        return True

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        """The modes of launches that follow the rounds, one of each."""
        return ()

    def least_launches(self, settings: Settings) -> int:
        """Launches in rounds that are certain to come."""
        return 0

    def request(self, settings: Settings, launch_timeout_s: float) -> dict[str, Any]:
        """What its device half is asked for, beside what every launch is."""
        return {}

    def own(self, launches: Launches) -> list[Launch]:
        """The launches that its result keeps: its own whole, of shared ones what it uses."""
        return of_mode(launches, *self.modes)

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        """What its launches come to; every one of them ended well.

        Args:
            launches: all of the cell.
        """
        raise NotImplementedError


def verified(launches: Launches, context: Context) -> tuple[dict[str, Any], str | None]:
    """The columns that compare the outputs of launches with the reference, and why they are wrong."""
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
