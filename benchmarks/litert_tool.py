"""One warm-latency measurement of a LiteRT artifact: by LiteRT's own benchmark, or by cellfarm's runner."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cellfarm.conversion import jobs
from cellfarm.devices import open_device
from cellfarm.environments import library_environment, locate
from cellfarm.experiments.launch import Deployed, launch
from cellfarm.experiments.payload import pack
from cellfarm.libraries import all_libraries
from cellfarm.plan import PlannedCell
from cellfarm.project import Project

from .figures import NotMeasurable

LIBRARY = "litert"
TOOL = "ai_edge_litert.tools.benchmark_litert_model"
TOOL_TIMEOUT_S = 300
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "USER", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Iterations:
    """How many inferences come before the samples, and how many samples are taken."""

    warmup: int
    samples: int


class Subject:
    """One artifact at one number of threads, ready to be measured both ways on this machine.

    Args:
        work: an empty folder for what is deployed.

    Raises:
        NotMeasurable: its environment or artifact is not there (or failed).
    """

    def __init__(self, project: Project, planned: PlannedCell, work: Path) -> None:
        self.cell = cell = planned.cell
        name = library_environment(cell.library, cell.library_version, "run")
        environment = locate(project, name)
        folder = project.artifact_folder(
            cell.versioned_library, cell.model, cell.variant, planned.artifact_id
        )
        state, record = environment.state(), jobs.read_record(folder)
        if not state or state["status"] != "ok" or not record or "content" not in record:
            raise NotMeasurable(f"{cell.label}: no environment or artifact yet; run `make` first")
        self.python = environment.python
        self.file = folder / jobs.FILES / "model.tflite"
        library = all_libraries()[LIBRARY]
        model = project.model_folder(cell.model, planned.model_id) / jobs.FILES
        self._transport = open_device({"work_folder": str(work)}, project.root)
        self._transport.prepare()
        payload = pack(library.backend, work / "packed")
        self._transport.put(payload, "payload.pyz")
        self._transport.put(folder / jobs.FILES, f"artifacts/{planned.artifact_id}")
        self._transport.put(model / "inputs.npz", f"inputs/{planned.model_id}.npz")
        with np.load(model / "reference.npz", allow_pickle=False) as stored:
            reference = {name: stored[name] for name in stored.files}
        self._deployed = Deployed(
            python=self.python,
            payload="payload.pyz",
            artifact=f"artifacts/{planned.artifact_id}",
            inputs=f"inputs/{planned.model_id}.npz",
            description=json.loads((model / "model.json").read_text(encoding="utf-8")),
            reference=reference,
            classes=False,
            variables=library.variables,
        )

    def by_runner(self, protocol: dict[str, Any], lock: int) -> tuple[float, Iterations]:
        """(median of the warm samples in ms, what was run) of one launch of the real runner."""
        result = launch(
            self._transport,
            self._deployed,
            processor=self.cell.processor,
            threads=self.cell.threads,
            protocol=protocol,
            scratch="launches/benchmark",
            lock=lock,
        )
        if result["status"] != "ok":
            raise NotMeasurable(f"{self.cell.label}: {result['status']}: {result['reason']}")
        # The runner's first inference is timed apart; to the tool it is the first of the warm-up.
        counts = Iterations(1 + len(result["warmup_ms"]), len(result["warm_ms"]))
        return float(median(result["warm_ms"])), counts

    def by_tool(self, counts: Iterations) -> float:
        """The median of the samples in ms that LiteRT's benchmark reports (it rounds to 0.01)."""
        variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        with tempfile.TemporaryDirectory(prefix="cellfarm-tool-") as folder:
            report = Path(folder, "report.json")
            done = subprocess.run(
                [
                    self.python, "-s", "-E", "-m", TOOL,
                    "--model", self.file,
                    "--num_threads", str(self.cell.threads),
                    "--warmup_runs", str(counts.warmup),
                    "--num_runs", str(counts.samples),
                    "--result_json", report,
                ],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=variables, timeout=TOOL_TIMEOUT_S, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0 or not report.is_file():
                raise NotMeasurable(f"LiteRT's benchmark failed: {done.stdout[-2000:]}")
            found = json.loads(report.read_text(encoding="utf-8"))
        return float(found["latency"]["median_ms"])
