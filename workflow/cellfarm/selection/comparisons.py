"""How the candidates compare, for each model in each setting of the warehouse."""

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
#: Statuses with which a candidate is no choice for a model.
REFUSED = ("unsupported", "failed", "wrong", "timeout")
#: Replaces the variant where candidates differ in their variants.
ANY = "any"


@dataclass(frozen=True)
class Results:
    """The newest result of every cell ever measured, the ratios between them, and the devices' facts.

    A model that changed has only the results of its newest build, and each comparison only those under its
    newest conditions (device, protocol, measure).
    """

    rows: Sequence[Row]
    ratios: Sequence[Row]
    devices: Mapping[str, Mapping[str, Any]]

    @property
    def models(self) -> list[str]:
        return sorted({row["model"] for row in self.rows})


@dataclass(frozen=True)
class Comparison:
    """One model in one setting: the candidates that rank, best first, and those that do not run it.

    A candidate is a library, or a library with a variant (`ncnn int8`). Candidates that were not measured,
    or do not rank because of a flag, are in neither.
    """

    ranking: Ranking
    refused: frozenset[str]

    @property
    def regrets(self) -> dict[str, float]:
        """Candidate -> how much longer it takes than the best, as a fraction: 0.1 is 10 %."""
        return {name: times - 1.0 for name, times in self.ranking.times_best.items()}


def read_results(connection: duckdb.DuckDBPyConnection) -> Results:
    """The results that a choice is based on."""
    cell = ", ".join((*COMPARISON_COLUMNS, "library", "library_version"))
    # Variants are compared with each other too.
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
    """The rows of a variant; with None those of all variants, whose names join the library's.

    `own_library` and `own_variant` keep the row's values.
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


def compare_candidates(
    rows: Sequence[Row], ratios: Iterable[Row], flagged: bool = False
) -> list[Comparison]:
    """Every setting in which at least one candidate ranks.

    Args:
        rows: those of `candidates`.
        flagged: let flagged results rank too.
    """
    labels = library_labels(rows)
    refused: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row["status"] in REFUSED:
            label = labels[str(row["library"]), row["library_version"]]
            refused[_place(row)].add(label)
    return [
        Comparison(ranking, frozenset(refused[_place_of(ranking)]))
        for ranking in rank(rows, ratios, flagged)
    ]


def by_label(rows: Sequence[Row]) -> dict[str, Row]:
    """A row of each candidate, by the candidate's name in comparisons of these rows."""
    labels = library_labels(rows)
    return {labels[str(row["library"]), row["library_version"]]: row for row in rows}


def rows_of_comparison(rows: Iterable[Row], comparison: Comparison) -> list[Row]:
    """The rows of a comparison's setting, also those that do not rank."""
    place = _place_of(comparison.ranking)
    return [row for row in rows if _place(row) == place]


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in COMPARISON_COLUMNS)


def _place_of(ranking: Ranking) -> tuple[Any, ...]:
    return tuple(getattr(ranking, name) for name in COMPARISON_COLUMNS)


def _facts(rows: Iterable[Row]) -> dict[str, Mapping[str, Any]]:
    """Each device's facts in its newest result."""
    newest_last = sorted(rows, key=lambda row: row["measured_at"] or 0)
    texts = {row["device"]: row["device_facts"] for row in newest_last}
    return {device: _object(text) for device, text in texts.items()}


def _object(text: str | None) -> Mapping[str, Any]:
    document = json.loads(text) if text else None
    return document if isinstance(document, dict) else {}
