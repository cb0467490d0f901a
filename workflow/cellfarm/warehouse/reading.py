"""The rows that the analyses read from the warehouse."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import duckdb

from ..analysis.operators import Timed
from .querying import records

#: Every cell at any time. `conditions` are the causes that must agree before versions are compared, as
#: in `cellfarm compare`.
_HISTORY = """
SELECT model, library, library_version, variant, device, processor, threads, protocol, status, flags,
       emulated, latency_ms, latency_ci_low_ms, latency_ci_high_ms, key, experiment, superseded,
       epoch_ms(measured_at) AS measured_at,
       [causes->>'model', causes->>'device', causes->>'protocol', causes->>'runner',
        causes->>'measure'] AS conditions
FROM every_cell() WHERE is_timed AND measured_at IS NOT NULL
"""
_OPERATORS = """
SELECT key, coalesce(type, library_type, 'Other'), ms, node FROM operators
WHERE NOT superseded AND list_contains(?, key) ORDER BY key, position
"""
_RATIOS = """
SELECT key, other_key, ratio, ratio_ci_low, ratio_ci_high, crosses_experiments
FROM ratios SEMI JOIN cells USING (key)
"""


def ratios(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The rows of the view `ratios` that start from a current cell."""
    return records(connection.execute(_RATIOS))


def history(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The rows that cellfarm.analysis.longitudinal takes."""
    return records(connection.execute(_HISTORY))


def operators(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> dict[str, list[Timed]]:
    """Key of a cell -> its operators in order; cells without a profile are left out."""
    if not keys:
        return {}
    profiles: dict[str, list[Timed]] = defaultdict(list)
    for key, *columns in connection.execute(_OPERATORS, [keys]).fetchall():
        profiles[key].append(Timed(*columns))
    return dict(profiles)
