"""A protocol: how cells are measured; one file in config/protocols/."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..base import documents
from ..base.errors import UserError
from ..measures import all_measures
from ..measures.hosts import host_of

_Limit = Annotated[float, Meta(ge=0)]


class Conditions(Struct, frozen=True, forbid_unknown_fields=True):
    """How often the sampler reads the device."""

    interval_ms: Annotated[
        float,
        Meta(
            ge=0,
            le=60000,
            description="a number of milliseconds from 0: how often the sampler reads the device; "
            "0: no sampling",
        ),
    ]


class Gates(Struct, frozen=True, forbid_unknown_fields=True):
    """The limits that a launch waits for; None is not looked at."""

    wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="a number of seconds from 0: how long a launch waits for the limits at most",
        ),
    ]
    budget_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="a number of seconds from 0: how long an experiment waits for the limits in all",
        ),
    ]
    other_cpu_cores: _Limit | msgspec.UnsetType | None = msgspec.UNSET
    slowdown: _Limit | msgspec.UnsetType | None = msgspec.UNSET
    temperature_rise_c: _Limit | msgspec.UnsetType | None = msgspec.UNSET
    temperature_change_c: _Limit | msgspec.UnsetType | None = msgspec.UNSET
    battery_percent: _Limit | msgspec.UnsetType | None = msgspec.UNSET

    def as_dict(self) -> dict[str, Any]:
        """What a gate is asked for; what is left out is not there."""
        return dict(msgspec.to_builtins(self))


class Protocol(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How cells are measured.

    Args:
        measures: the settings of each measure that is taken.
    """

    measures: Annotated[
        dict[str, dict[str, Any]],
        Meta(min_length=1, description="measures with their settings, such as latency: {...}"),
    ]
    conditions: Conditions
    gates: Gates
    affinity: Literal["big_first", "none"]
    governor: Annotated[
        str,
        Meta(
            pattern=r"^[a-z_]+\Z",
            description="keep, or the name of a governor such as performance",
        ),
    ]
    launch_timeout_s: Annotated[
        float, Meta(gt=0, le=86400, description="a number of seconds above 0, at most 86400")
    ]
    seed: Annotated[int, Meta(ge=0)]

    def common(self) -> dict[str, Any]:
        """What all measures of a cell have in common."""
        document = dict(msgspec.to_builtins(self))
        del document["measures"]
        return document


#: Where settings stand that stood at the top when a cell had one result for all measures.
_MOVED = {
    "pattern": "measures.latency, measures.spaced or measures.sustained",
    "launches": "measures.latency.launches",
    "target_half_width": "measures.latency.target_half_width",
    "samples": "measures.latency.samples",
    "cold_cache": "measures.cold_start.launches",
    "quality": "measures.quality",
    "profile": "measures.operators",
}


def read_protocol(path: Path) -> Protocol:
    """A protocol from its file.

    Raises:
        UserError: it is not what a protocol has to be; measures that fill one column stand together.
    """
    document = documents.load_yaml(path)
    where = str(path)
    if isinstance(document, Mapping):
        for name, place in _MOVED.items():
            if name in document:
                raise UserError(f"{where}: key '{name}': it stands under {place} now")
        document = {**document, "measures": _with_settings(document.get("measures"))}
    protocol = documents.parse(document, Protocol, where)
    measures = {
        name: _parse_settings(name, settings, protocol.launch_timeout_s, where)
        for name, settings in protocol.measures.items()
    }
    _check_columns(measures, where)
    order = [name for name in all_measures() if name in measures]
    return msgspec.structs.replace(protocol, measures={name: measures[name] for name in order})


def _with_settings(measures: Any) -> Any:
    """`latency:` without settings takes the measure's own."""
    if not isinstance(measures, Mapping):
        return measures
    return {name: {} if settings is None else settings for name, settings in measures.items()}


def _parse_settings(
    name: str, settings: Mapping[str, Any], launch_timeout_s: float, where: str
) -> dict[str, Any]:
    known = all_measures()
    if name not in known:
        hint = documents.suggestion(name, list(known))
        raise UserError(
            f"{where}: key 'measures': unknown measure '{name}'{hint}; there are: {', '.join(known)}"
        )
    document = {"measures": {name: {**known[name].defaults, **settings}}}
    parsed = getattr(documents.parse(document, _at_its_place(name), where).measures, name)
    try:
        host_of(name).check(parsed, launch_timeout_s)
    except ValueError as error:
        message = str(error).replace("key '", f"key 'measures.{name}.", 1)
        raise UserError(f"{where}: {message}") from None
    return dict(msgspec.to_builtins(parsed))


@cache
def _at_its_place(name: str) -> Any:
    """The settings of a measure as they stand in a file, so that a message names the whole key."""
    measures = msgspec.defstruct("Measures", [(name, host_of(name).schema)])
    return msgspec.defstruct("Place", [("measures", measures)])


def _check_columns(measures: Mapping[str, Any], where: str) -> None:
    """Refuse two measures that rank by the same column: a cell has one latency."""
    by: dict[str, str] = {}
    for name in measures:
        column = all_measures()[name].ranks
        if column in by:
            raise UserError(
                f"{where}: key 'measures': '{by[column]}' and '{name}' both fill {column}: take one"
            )
        if column:
            by[column] = name
