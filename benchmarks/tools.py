"""Each library's own benchmark tool, or a plain loop over its interface, on a cell's artifact."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cellfarm.base.processes import die_with_parent
from cellfarm.experiments.launch import _variables

from .direct import Subject
from .figures import NotMeasurable

LITERT = "litert"
LITERT_TOOL = "ai_edge_litert.tools.benchmark_litert_model"
#: LiteRT's wheel has a tool; for the others a script that imports the library and numpy only.
LOOPS = Path(__file__).parent / "loops"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Iterations:
    """How many inferences come before the samples, and how many samples are taken."""

    warmup: int
    samples: int

    @classmethod
    def of(cls, launch: dict[str, Any]) -> Iterations:
        """The iterations of a launch of the runner; its first inference is part of the warm-up."""
        return cls(1 + len(launch["warmup_ms"]), len(launch["warm_ms"]))


def tool_name(library: str) -> str:
    return LITERT_TOOL if library == LITERT else f"benchmarks/loops/loop_{library}.py"


def run_tool(subject: Subject, counts: Iterations) -> float:
    """The median in ms of one run of the library's own tool or loop, in a fresh process.

    It gets the interpreter, the variables, the processors and the number of inferences of the
    runner's launches. LiteRT's tool rounds to 0.01 ms and makes up its inputs.

    Raises:
        NotMeasurable: the tool failed, or there is none for this library.
    """
    library = subject.planned.cell.library
    with tempfile.TemporaryDirectory(prefix="cellfarm-tool-") as folder:
        report = Path(folder, "report.json")
        arguments = _litert if library == LITERT else _loop
        argv = [*subject.deployed.python.argv, *arguments(subject, counts, report)]
        completed = subprocess.run(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=_variables(subject.direct.transport, subject.deployed.variables),
            timeout=TIMEOUT_S, text=True, errors="replace", check=False,
            preexec_fn=lambda: _settle(subject.cores),
        )  # fmt: skip
        if completed.returncode != 0 or not report.is_file():
            raise NotMeasurable(f"{tool_name(library)} failed: {completed.stdout[-2000:]}")
        results = json.loads(report.read_text(encoding="utf-8"))
    if library == LITERT:
        return float(results["latency"]["median_ms"])
    return float(median(results["ms"]))


def _litert(subject: Subject, counts: Iterations, report: Path) -> list[Any]:
    return [
        "-m", LITERT_TOOL,
        "--model", subject.files / "model.tflite",
        "--num_threads", subject.planned.cell.threads,
        "--warmup_runs", counts.warmup,
        "--num_runs", counts.samples,
        "--result_json", report,
    ]  # fmt: skip


def _loop(subject: Subject, counts: Iterations, report: Path) -> list[Any]:
    script = LOOPS / f"loop_{subject.planned.cell.library}.py"
    if not script.is_file():
        raise NotMeasurable(f"there is no {script.name} in benchmarks/loops")
    return [
        script, subject.files, subject.model_files, subject.planned.cell.threads, counts.warmup,
        counts.samples, report,
    ]  # fmt: skip


def _settle(cores: Sequence[int] | None) -> None:
    die_with_parent()
    if cores:
        os.sched_setaffinity(0, cores)
