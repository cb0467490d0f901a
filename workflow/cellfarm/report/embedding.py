"""The data of the page's scripts: compressed, in characters that are safe in HTML."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellfarm.analysis.ranking import FLAG_MEANINGS
from cellfarm.measures import Measure, all_measures
from cellfarm.measures.flags import OPERATORS_GAP
from cellfarm.report import charts, data, figures, readings
from cellfarm.report.palette import THEMES
from cellfarm.report.panels import CHART_VALUES, Arrangement

#: Columns of a cell that the scripts need beside those of the warehouse.
_ADDED = (
    *(column for column in readings.COLUMNS if column != "operators"),
    *("measured_at", "label", "ranks", "winner", "ranks_flagged", "winner_flagged", "setting"),
    *("error_plot", "cold_other_ms", "cold_cache_other_ms", "op_ms"),
    *("order_latency", "order_cold_start", "order_operators", "order_memory", "order_error"),
    *("latency_text", "cold_text", "cold_cache_text", "memory_text", "error_text", "cell_text"),
    *("operators_text", "operators_label", "gap_text", "sustained_text"),
    *("flags_text", "interval_text", "samples_text"),
)


def packed(value: Any) -> str:
    """JSON as gzip in base64: a tenth of the size, and no text that could end its element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate from a broken log cannot be written as UTF-8.
    return _packed(text.encode("utf-8", "replace"))


def packed_numbers(values: np.ndarray) -> str:
    """Numbers [n] as little-endian float32, gzip, base64."""
    return _packed(values.astype("<f4").tobytes())


def _packed(content: bytes) -> str:
    # The highest level makes the page a tenth smaller, but takes as long as drawing its figures.
    return base64.b64encode(gzip.compress(content, compresslevel=4, mtime=0)).decode()


def payload(
    measured: data.Measurements,
    arrangement: Arrangement,
    specs: dict[str, dict[str, Any]],
    written: Sequence[str],
    subjects: Mapping[str, str],
) -> dict[str, Any]:
    """What the page's scripts read: cells by column, panels, specifications, colours.

    Args:
        subjects: HTML of the panels of models and devices (see cellfarm.report.subjects).
    """
    names = data.cell_columns()
    columns = {
        name: [_short(cell[name]) for cell in arrangement.cells] for name in (*names, *_ADDED)
    }
    panels = [
        {
            "setting": panel.setting,
            "model": panel.model,
            "threads": panel.threads,
            "profiled_threads": panel.profiled_threads,
            "extents": panel.extents,
        }
        for panel in arrangement.panels
    ]
    return {
        "columns": columns,
        "cell_columns": [name for name in names if name != "log"],
        "measures": [_measure(measure) for measure in all_measures().values()],
        "panels": panels,
        "specs": specs,
        "log_specs": charts.logarithmic(arrangement),
        "configs": {theme.name: charts.configuration(theme, arrangement) for theme in THEMES},
        "chart_values": CHART_VALUES,
        "labels": arrangement.labels,
        "settings": arrangement.settings,
        "subjects": subjects,
        "calibration": _calibration(measured.calibration),
        "calibration_spec": charts.calibration(arrangement.labels),
        "flag_meanings": FLAG_MEANINGS,
        "operator_types": arrangement.operator_types,
        "operators_gap": OPERATORS_GAP,
        "figures": written,
        "figure_suffixes": figures.suffixes(arrangement),
    }


def _measure(measure: Measure) -> dict[str, Any]:
    """What the scripts need of a measure: how to write its columns."""
    attributes = ("title", "unit", "format", "type", "interval", "table")
    columns = {
        name: {attribute: getattr(column, attribute) for attribute in attributes}
        for name, column in measure.columns.items()
    }
    return {"title": measure.title, "reason": measure.reason, "columns": columns}


def _calibration(by_device: dict[str, readings.Calibration]) -> dict[str, Any]:
    names = ("number", "moment", "threads", "factor", "most", "ms", "launches")
    return {
        device: {
            "columns": {
                name: [_short(value) for value in column]
                for name, column in zip(names, zip(*load.points, strict=True), strict=True)
            },
            "sessions": load.sessions,
            "launches": load.launches,
            "parameters": {
                "most": max(1, load.launches - 1),
                "lowest": min(point[3] for point in load.points),
                "highest": max(point[4] for point in load.points),
            },
        }
        for device, load in by_device.items()
    }


def _short(value: Any) -> Any:
    """Floats with 6 digits, as the noise of timers is larger; with 4 in lists, which are only drawn."""
    if isinstance(value, list):
        return [data.rounded(item, 4) if isinstance(item, float) else item for item in value]
    return data.rounded(value, 6) if isinstance(value, float) else value
