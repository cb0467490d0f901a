"""Builds and converts the paper's whole matrix from nothing: time, peak memory, cost of a second run.

The last commit is cloned; environments are the checkout's own (missing ones are made first and not
counted). What is run is `snakemake converted --configfile config/paper.yaml`.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from cellfarm.base.project import Project

from .figures import REPOSITORY, SCRATCH, Figure, NotMeasurable, Options, keep_raw
from .fresh import clone_checkout
from .processes import VENV_BIN, run, snakemake_variables

PEAK_TARGET_GB = 12.0
INTERVAL_S = 0.5
SMALLEST = ("--config", "models=squeezenet1_1", "libraries=onnxruntime,ncnn")


def measure(options: Options) -> list[Figure]:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".conversion-", dir=SCRATCH) as name:
        folder = Path(name) / "clone"
        clone_checkout(folder)
        matrix = [
            "converted",
            "--configfile",
            "config/paper.yaml",
            *(SMALLEST if options.quick else ()),
        ]
        _snakemake(folder, *matrix, "--until", "environment")
        first_s, cpu_s, peak_gb = _snakemake(folder, *matrix)
        second_s, second_cpu_s, _ = _snakemake(folder, *matrix)
        records = _records(folder)
    keep_raw("conversion", options, records)
    statuses = Counter(str(record["status"]) for record in records)
    return [
        Figure(
            "wall time from nothing to every artifact", first_s / 60, "min",
            details={"CPU": f"{cpu_s / 60:.1f} min",
                     "artifacts": ", ".join(f"{n} {status}" for status, n in statuses.items())},
        ),
        Figure("peak memory of all processes together", peak_gb, "GB", PEAK_TARGET_GB),
        Figure("wall time of a second run", second_s, "s", details={"CPU": f"{second_cpu_s:.1f} s"}),
    ]  # fmt: skip


def _snakemake(folder: Path, *arguments: str) -> tuple[float, float, float]:
    """(wall time in s, CPU time in s, peak memory in GB) of a run.

    Raises:
        NotMeasurable: it did not end with 0.
    """
    variables = snakemake_variables(CELLFARM_ENVIRONMENTS=str(Project(REPOSITORY).environments))
    with _Memory() as memory:
        completed = run([VENV_BIN / "snakemake", *arguments], folder, variables)
    if completed.code != 0:
        raise NotMeasurable(f"snakemake ended with {completed.code}: {completed.output[-2000:]}")
    return completed.wall_s, completed.cpu_s, memory.peak_bytes / 1e9


def _records(folder: Path) -> list[dict[str, object]]:
    records = []
    for path in sorted((folder / "results/artifacts").glob("*/*/*/*/record.json")):
        library, model, variant = path.relative_to(folder / "results/artifacts").parts[:3]
        record = json.loads(path.read_text(encoding="utf-8"))
        records.append(
            {"library": library, "model": model, "variant": variant}
            | {name: record.get(name) for name in ("status", "reason", "seconds")}
        )
    return records


class _Memory:
    """The proportional set size of this process's descendants, summed twice a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        current = psutil.Process()
        while not self._ended.is_set():
            total_bytes = 0
            for process in current.children(recursive=True):
                try:
                    total_bytes += process.memory_full_info().pss
                except psutil.Error:  # the process has just ended
                    continue
            self.peak_bytes = max(self.peak_bytes, total_bytes)
            time.sleep(INTERVAL_S)
