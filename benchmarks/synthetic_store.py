"""A store of made-up results, in the form in which experiments commit them."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cellfarm.base.cells import Cell
from cellfarm.store.results import Store, render
from msgspec import structs

FACTS = {
    "cpu": "made up",
    "architecture": "aarch64",
    "cores": 8,
    "memory_gb": 8,
    "os": "Android 15",
}
CAUSES = (
    "model",
    "exporter",
    "converter",
    "library",
    "device",
    "protocol",
    "verification",
    "measure",
)
#: The measures of every cell.
MEASURES = ("latency", "cold_start", "quality")
#: Of one launch: samples of the start, then the warm ones; readings of the sampler.
WARMUP = 2
WARM = 20
READINGS = 10


@dataclass(frozen=True)
class Size:
    """models x libraries x devices cells of `launches` launches each."""

    models: int
    libraries: int
    devices: int
    launches: int = 5

    @property
    def cells(self) -> int:
        return self.models * self.libraries * self.devices

    @property
    def samples(self) -> int:
        """The total number of warm samples if every cell has some."""
        return self.cells * self.launches * WARM


LARGE = Size(models=20, libraries=10, devices=50)
SMALL = Size(models=3, libraries=5, devices=2)
TINY = Size(models=2, libraries=2, devices=2)


class SyntheticStore:
    """Results of every cell below `root`; every 40th is unsupported, every 30th flagged.

    `current` has of each cell, by its key, measure -> key of the result.
    """

    def __init__(
        self, root: Path, size: Size, seed: int = 1, measures: tuple[str, ...] = MEASURES
    ) -> None:
        self.store = Store(root)
        self.size = size
        self.measures = measures
        self.current: dict[str, dict[str, str]] = {}
        self._random = random.Random(seed)
        self._now_s = 1_795_300_000.0
        for number, cell in enumerate(self._cells()):
            self._write(number, cell)

    @property
    def devices(self) -> dict[str, Any]:
        return {f"device{number:02}": FACTS for number in range(self.size.devices)}

    def add_one(self) -> None:
        """Add a cell: a copy of the first one with a newer version of its library."""
        self._write(0, structs.replace(next(self._cells()), library_version="2.0"))

    def _cells(self) -> Iterator[Cell]:
        size = self.size
        names = itertools.product(range(size.models), range(size.devices), range(size.libraries))
        for model, device, library in names:
            yield Cell(
                model=f"model{model:02}",
                library=f"library{library}",
                library_version="1.0",
                variant="fp32",
                device=f"device{device:02}",
                processor="cpu",
                threads=4,
            )

    def _write(self, number: int, cell: Cell) -> None:
        """Store a cell's results of all measures."""
        supported = number % 40 != 39
        cell_launches = [self._launch(cell, round_) for round_ in range(self.size.launches)]
        device_facts = FACTS | {"load_1min": round(self._random.random(), 2)}
        keys = {measure: _digest(f"{cell.folder} {measure}") for measure in self.measures}
        self.current[_digest(str(keys))] = keys
        for measure, key in keys.items():
            columns, launches = _OF_MEASURES[measure](cell_launches)
            header = {
                "schema": 3,
                "key": key,
                "measure": measure,
                "cell": cell.as_dict(),
                "causes": {
                    name: _digest(f"{name} {_cause(cell, name, measure)}") for name in CAUSES
                },
                "status": "ok" if supported else "unsupported",
                "reason": None if supported else "operator Einsum is not supported",
                "flags": ["noisy"] if number % 30 == 29 and measure == "latency" else [],
                "measured_at": f"2026-11-22T{number % 24:02}:00:00+00:00",
                "experiment": f"{_digest('run')}/{cell.device}/{cell.model}",
            }
            body = {
                "protocol": "quick",
                "settings": {},
                "columns": columns if supported else {},
                "emulated": False,
                "artifact_bytes": 14_000_000,
                "artifact_seconds": 2.5,
                "payload_bytes": 80_000,
                "ids": {},
                "device_facts": device_facts,
                "log": "" if supported else "Einsum at node 12 of the graph\n",
                "drift": None,
                "launches": launches if supported else [],
            }
            path = self.store.root / cell.folder / f"{measure}-{key}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(header, body), encoding="utf-8")

    def _launch(self, cell: Cell, round_: int) -> dict[str, Any]:
        draw = self._random
        level = (5 + int(cell.model[-2:])) * (1 + 0.1 * int(cell.library[-1])) * draw.gauss(1, 0.02)
        samples = [level * draw.lognormvariate(0, 0.01) for _ in range(WARMUP + WARM)]
        self._now_s += 10
        metrics = ("cpu_utilisation", "other_cpu_utilisation", "steal", "cpu_pressure", "rss_mb")
        return {
            "round": round_,
            "session": "5e55104b5e55104b",
            "mode": "measure",
            "status": "ok",
            "reason": None,
            "gate": {
                "calibration": {"compute_ms": draw.gauss(8, 0.1), "memory_ms": draw.gauss(5, 0.1)},
                "temperatures_c": {"cpu": round(draw.gauss(40, 2), 1)},
                "other_cpu_cores": draw.random() / 20,
                "load_1min": 0.3,
                "waited_s": 0.0,
                "governor": "performance",
                "exceeded": [],
            },
            "phases": {"start": 60.0, "import": 200.0, "read": 4.0, "load": 90.0, "first": 3 * level},
            "resources": {"cpu_utilisation": 3.9, "other_cpu_utilisation": 0.02, "steal": 0.0,
                          "load_rss_mb": 90.0, "peak_load_rss_mb": 100.0, "migrations": 3,
                          "peak_inference_rss_mb": 120.5, "sampler_cpu_share": 0.004},
            "conditions": {
                "interval_s": 0.05,
                "t_s": [round(0.05 * position, 2) for position in range(READINGS)],
                "metrics": {name: [draw.random() for _ in range(READINGS)] for name in metrics},
            },
            "affinity": [4, 5, 6, 7],
            "page_cache_share": 1.0,
            "after": {"load_1min": 0.4, "temperatures_c": {"cpu": 41.0}},
            "started_at": self._now_s,
            "steady": "warm-up",
            "warmup_ms": samples[:WARMUP],
            "warm_ms": samples[WARMUP:],
        }  # fmt: skip


def _latency(launches: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Columns about as an experiment computes them, without its bootstrap."""
    latency_ms = median(median(launch["warm_ms"]) for launch in launches)
    columns = {
        "latency_ms": latency_ms,
        "latency_ci_low_ms": 0.98 * latency_ms,
        "latency_ci_high_ms": 1.02 * latency_ms,
        "latency_p90_ms": 1.03 * latency_ms,
        "launches": len(launches),
        "samples": sum(len(launch["warm_ms"]) for launch in launches),
        "stopped_because": "precise",
        "steady_state": "warm-up",
        "peak_rss_mb": 120.5,
        "cpu_utilisation": 3.9,
        "cosine": 0.9999999,
        "max_abs_error": 1e-6 * latency_ms,
        "top1_match": True,
    }
    return columns, launches


def _cold_start(launches: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The starts of the launches above: copies of them without their samples."""
    first = launches[0]["phases"]
    columns = {"cold_total_ms": sum(first.values())}
    columns |= {f"cold_{phase}_ms": ms for phase, ms in first.items()}
    light = ("round", "session", "mode", "status", "reason", "phases", "started_at")
    return columns, [
        {name: launch[name] for name in light} | {"resources": {}, "shared_with": "latency"}
        for launch in launches
    ]


def _quality(launches: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    columns = {"heldout_samples": 16, "heldout_cosine": 0.9999999, "sqnr_db": 120.0,
               "top1_agreement": 1.0}  # fmt: skip
    last = launches[-1]
    launch = {name: last[name] for name in ("session", "status", "reason", "started_at")}
    return columns, [
        launch | {"mode": "quality", "round": last["round"] + 1, "phases": {}, "resources": {}}
    ]


_OF_MEASURES = {"latency": _latency, "cold_start": _cold_start, "quality": _quality}


def _cause(cell: Cell, name: str, measure: str) -> str:
    if name == "measure":
        return measure
    return str(getattr(cell, name, "")) if name != "converter" else cell.library + cell.model


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
