"""What the warehouse knows of choices: for each model in each setting, how the candidates compare."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from ..analysis.ranking import COMPARISON_COLUMNS, Ranking, Row, library_labels, rank
from ..warehouse import records

_COLUMNS = (
    "key", "model", "library", "library_version", "variant", "device", "processor", "threads",
    "protocol", "status", "reason", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms",
    "emulated", "flags", "artifact_bytes", "cosine", "heldout_cosine",
)  # fmt: skip
#: What a measurement says no to: the candidate is no choice for that model.
REFUSED = ("unsupported", "failed", "wrong", "timeout")
#: Stands in the place of the variant where variants are among what is chosen from.
ANY = "any"


@dataclass(frozen=True)
class Results:
    """The newest result of every cell ever measured, the ratios between them, and the devices' facts.

    Of a model that changed only the results of its newest build are here, and of those that are compared
    with each other only those under the newest conditions (device, protocol, measure).
    """

    rows: Sequence[Row]
    ratios: Sequence[Row]
    devices: Mapping[str, Mapping[str, Any]]

    @property
    def models(self) -> list[str]:
        return sorted({row["model"] for row in self.rows})


@dataclass(frozen=True)
class Comparison:
    """One model in one setting: the candidates that rank, best first, and those that it refused.

    A candidate is a library, or a library with a variant (`ncnn int8`). What was not measured, or does
    not rank because of a flag, is in neither: nothing is known of it.
    """

    ranking: Ranking
    refused: frozenset[str]

    @property
    def regrets(self) -> dict[str, float]:
        """Candidate -> how much longer it takes than the best, as a fraction: 0.1 is 10 %."""
        return {name: times - 1.0 for name, times in self.ranking.times_best.items()}


def read_results(connection: duckdb.DuckDBPyConnection) -> Results:
    """Everything that a choice may rest on."""
    cell = ", ".join((*COMPARISON_COLUMNS, "library", "library_version"))
    # Variants are compared with each other, too.
    setting = ", ".join(name for name in COMPARISON_COLUMNS if name != "variant")
    rows = records(connection.execute(f"""
        WITH newest AS (
            SELECT {", ".join(_COLUMNS)}, measured_at, device_facts,
                   json_extract_string(causes, '$.model') AS build,
                   json_extract_string(causes,
                       ['$.device', '$.protocol', '$.runner', '$.measure']) AS conditions
            FROM every_cell() WHERE is_timed AND NOT superseded
            QUALIFY row_number() OVER (PARTITION BY {cell} ORDER BY measured_at DESC, key) = 1
        )
        SELECT * EXCLUDE (measured_at, build, conditions), epoch_ms(measured_at) AS measured_at
        FROM newest
        QUALIFY build IS NOT DISTINCT FROM
                first_value(build) OVER (PARTITION BY model ORDER BY newest.measured_at DESC, key)
            AND conditions IS NOT DISTINCT FROM first_value(conditions)
                OVER (PARTITION BY {setting} ORDER BY newest.measured_at DESC, key)
        ORDER BY {cell}
    """))  # fmt: skip
    ratios = records(connection.execute("FROM ratios"))
    now = connection.execute("SELECT device, facts FROM devices").fetchall()
    return Results(rows, ratios, _facts(rows) | {device: _object(text) for device, text in now})


def candidates(rows: Iterable[Row], variant: str | None) -> list[Row]:
    """The rows of a variant; of None those of every variant, each with its name at the library's.

    `own_library` and `own_variant` keep what a row had.
    """
    return [
        {
            **row,
            "own_library": row["library"],
            "own_variant": row["variant"],
            "library": row["library"] if variant else f"{row['library']} {row['variant']}",
            "variant": variant or ANY,
        }
        for row in rows
        if variant in (None, row["variant"])
    ]


def comparisons(
    rows: Sequence[Row], ratios: Iterable[Row], flagged: bool = False
) -> list[Comparison]:
    """Every setting in which at least one candidate ranks.

    Args:
        rows: as `candidates` gives them.
        flagged: let flagged results rank, too.
    """
    labels = library_labels(rows)
    refused: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row["status"] in REFUSED:
            label = labels[str(row["library"]), row["library_version"]]
            refused[_place(row)].add(label)
    return [
        Comparison(one, frozenset(refused[_place_of(one)])) for one in rank(rows, ratios, flagged)
    ]


def by_label(rows: Sequence[Row]) -> dict[str, Row]:
    """A row of each candidate, by the name that it has in comparisons of these rows."""
    labels = library_labels(rows)
    return {labels[str(row["library"]), row["library_version"]]: row for row in rows}


def of_comparison(rows: Iterable[Row], one: Comparison) -> list[Row]:
    """The rows that a comparison is made from, those that do not rank with them."""
    place = _place_of(one.ranking)
    return [row for row in rows if _place(row) == place]


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in COMPARISON_COLUMNS)


def _place_of(ranking: Ranking) -> tuple[Any, ...]:
    return tuple(getattr(ranking, name) for name in COMPARISON_COLUMNS)


def _facts(rows: Iterable[Row]) -> dict[str, Mapping[str, Any]]:
    """Of each device those of its newest result."""
    newest = {
        row["device"]: row["device_facts"]
        for row in sorted(rows, key=lambda row: row["measured_at"] or 0)
    }
    return {device: _object(text) for device, text in newest.items()}


def _object(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else {}
