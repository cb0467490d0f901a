"""Charts of stacked bars: the phases of a cold start, the operators of an inference."""

from __future__ import annotations

import altair as alt

from cellfarm.report.marks import (
    ROW_HEIGHT,
    Chart,
    absent,
    faded,
    libraries_down,
    number,
    where_known,
)

#: Phase of a cold start -> its name, in the order of time; `other` is the rest of the total.
PHASES = {
    "start": "process start",
    "import": "import",
    "read": "read",
    "load": "load",
    "first": "first inference",
    "other": "not split",
}
#: State of the page cache -> the prefix of its columns.
CACHES = {"warm": "cold_", "cold": "cold_cache_"}
_TWO_BARS = 38


def cold_start(both_caches: bool) -> Chart:
    """Phases of a cold start; with `both_caches`, a second bar for a cold page cache."""
    names = list(PHASES.values())
    caches = list(CACHES) if both_caches else ["warm"]
    columns = {
        f"{CACHES[cache]}{phase}_ms": (cache, name)
        for cache in caches
        for phase, name in PHASES.items()
    }
    rows = libraries_down("cold-start")
    if both_caches:
        rows = rows.encode(yOffset=alt.YOffset("cache:N", scale=alt.Scale(domain=caches)))
    height = 12 if both_caches else 13
    bars = (
        rows.transform_fold(list(columns), as_=["column", "phase_ms"])
        .transform_filter("isValid(datum.phase_ms)")
        .transform_calculate(
            cache=f"{ {column: cache for column, (cache, _) in columns.items()} }[datum.column]",
            phase=f"{ {column: name for column, (_, name) in columns.items()} }[datum.column]",
            place=f"indexof({list(columns)}, datum.column)",
        )
        .mark_bar(height=height)
        .encode(
            x=alt.X("phase_ms:Q", stack="zero"),
            color=alt.Color("phase:N", scale=alt.Scale(domain=names, range="ordinal"), legend=None),
            order=alt.Order("place:Q"),
            opacity=faded(),
            tooltip=[
                alt.Tooltip("label:N", title="library"),
                alt.Tooltip("cache:N", title="page cache"),
                alt.Tooltip("phase:N", title="phase"),
                alt.Tooltip("phase_ms:Q", title="ms", format=",.3~r"),
                alt.Tooltip("cold_text:N", title="total, warm page cache"),
                alt.Tooltip("cold_cache_text:N", title="total, cold page cache"),
                alt.Tooltip("status:N", title="status"),
            ],
        )
    )

    def of_cache(suffix: str) -> str:
        columns = {f"{prefix}total_ms": f"{prefix}{suffix}" for prefix in CACHES.values()}
        return f"datum[{columns}[datum.column]]"

    total_columns = [f"{CACHES[cache]}total_ms" for cache in caches]
    totals = (
        rows.transform_fold(total_columns, as_=["column", "total_ms"])
        .transform_filter("isValid(datum.total_ms)")
        .transform_calculate(
            cache="datum.column === 'cold_total_ms' ? 'warm' : 'cold'",
            ci_low=of_cache("total_ci_low_ms"),
            ci_high=of_cache("total_ci_high_ms"),
            text=of_cache("text"),
        )
        # Without any bound a panel's axis would have no ends, of which Vega warns.
        .transform_calculate(
            low="isValid(datum.ci_low) ? datum.ci_low : datum.total_ms",
            upper="isValid(datum.ci_high) ? datum.ci_high : datum.total_ms",
        )
        .transform_calculate(end="max(datum.total_ms, datum.upper)")
    )
    whisker = totals.mark_rule(style="whisker", strokeWidth=1.3).encode(
        x="low:Q", x2="upper:Q", opacity=where_known("ci_high")
    )
    texts = number(totals, at="end", text="text")
    return alt.layer(bars, whisker, texts, absent(libraries_down("cold-start"), "cold_total_ms"))


def cold_start_step(both_caches: bool) -> alt.Step:
    """Height of a library's row."""
    return alt.Step(_TWO_BARS if both_caches else ROW_HEIGHT, **{"for": "position"})


def operators(types: list[str]) -> Chart:
    """Time by type of operator, and the latency that was measured without a profiler.

    Args:
        types: in the order of the array `op_ms` of a cell.
    """
    rows = libraries_down("operators")
    bars = (
        rows.transform_filter("isValid(datum.op_ms)")
        .transform_calculate(op_type=str(types))
        .transform_flatten(["op_ms", "op_type"])
        .transform_filter("datum.op_ms > 0")
        .transform_calculate(
            share="datum.op_ms / datum.operators_sum_ms",
            place=f"indexof({types}, datum.op_type)",
        )
        .mark_bar(height=13)
        .encode(
            x=alt.X("op_ms:Q", stack="zero"),
            color=alt.Color(
                "op_type:N", scale=alt.Scale(domain=types, range="diverging"), legend=None
            ),
            order=alt.Order("place:Q"),
            opacity=faded(),
            tooltip=[
                alt.Tooltip("label:N", title="library"),
                alt.Tooltip("op_type:N", title="operators"),
                alt.Tooltip("op_ms:Q", title="ms", format=",.3~r"),
                alt.Tooltip("share:Q", title="share of the sum", format=".1%"),
                alt.Tooltip("operators_text:N", title="sum"),
                alt.Tooltip("gap_text:N", title="against the latency"),
                alt.Tooltip("latency_text:N", title="latency"),
            ],
        )
    )
    profiled = rows.transform_filter("isValid(datum.operators_sum_ms)").transform_calculate(
        end="max(datum.operators_sum_ms, datum.latency_ms)"
    )
    latency = profiled.mark_tick(style="whisker", thickness=2, height=19).encode(x="latency_ms:Q")
    texts = number(profiled, at="end", text="operators_label")
    unprofiled = rows.transform_calculate(
        why="datum.status === 'ok' ? 'not profiled' : datum.status"
    )
    return alt.layer(bars, latency, texts, absent(unprofiled, "operators_sum_ms", "why"))
