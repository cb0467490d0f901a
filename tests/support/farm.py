"""A farm for end-to-end tests: a copy of the checkout that runs the smallest real matrix."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.protocols import SMALLEST

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("Snakefile", "profiles", "workflow", "config", "models", "devices", "envs")
TIMEOUT_S = 600

#: Two small models, two libraries, one thread: 4 cells. 64 x 64 keeps conversions to seconds.
CONFIG: dict[str, Any] = {
    "models": ["small_squeezenet", "small_mobilenet"],
    "libraries": ["onnxruntime", "ncnn"],
    "devices": ["host"],
    "variants": ["fp32"],
    "processors": ["cpu"],
    "threads": [1],
    "protocol": "test",
}
PROTOCOL = SMALLEST
_OUTLOOK = """
import json
from cellfarm.base.project import Project
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import look
from cellfarm.wanted.configuration import load_file
project = Project.here()
outlook = look(project, load_file(project))
plan = freeze(outlook)
steps = [step.output for kind in ("model", "derived", "export", "artifact")
         for step in plan.steps(kind).values() if not (project.root / step.output).is_file()]
cells = {f"{p.cell.model} {p.cell.library}": p.reason for p in outlook.stale}
print(json.dumps({"cells": cells, "steps": sorted("/".join(s.split("/")[1:4]) for s in steps)}))
"""


class Farm:
    """A copy of the sources in its own folder; all tests share environments (see support/cache.py)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path) -> Farm:
        root.mkdir(parents=True)
        for name in SOURCES:
            source = REPOSITORY / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, root / name, ignore=ignore)
            else:
                shutil.copy(source, root / name)
        farm = cls(root)
        farm.write("config/protocols/test.yaml", PROTOCOL)
        farm.add_model("small_squeezenet", "squeezenet1_1")
        farm.add_model("small_mobilenet", "mobilenet_v2")
        farm.configure()
        return farm

    def copy(self, root: Path) -> Farm:
        """Copy the farm with all its results."""
        shutil.copytree(self.root, root, symlinks=True)
        return Farm(root)

    def write(self, name: str, document: Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def configure(self, **changes: Any) -> None:
        self.write("config/config.yaml", CONFIG | changes)

    def add_model(self, name: str, architecture: str, size: int = 64) -> None:
        document = yaml.safe_load((REPOSITORY / f"models/{architecture}.yaml").read_text())
        document |= {"name": name, "title": name}
        document["inputs"][0]["shape"] = [1, 3, size, size]
        self.write(f"models/{name}.yaml", document)

    def forget_steps(self, model: str) -> None:
        """Remove what was built from a model, here or in an earlier run of the tests."""
        results = self.root / "results"
        for kind in ("models", "exports", "artifacts/*"):
            for folder in results.glob(f"{kind}/{model}"):
                shutil.rmtree(folder)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.root / name
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"the edit of {name} changed nothing"
        path.write_text(after, encoding="utf-8")

    # -- running --------------------------------------------------------------------------------

    @staticmethod
    def variables() -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "PYTHON"))
        }
        return inherited | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(
        self, *arguments: str, code: int | None = 0, timeout_s: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake to its end; it must exit with `code`."""
        return self.command("snakemake", *arguments, code=code, timeout_s=timeout_s)

    def command(
        self, *argv: str, code: int | None = 0, timeout_s: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        completed = subprocess.run(
            argv, cwd=self.root, env=self.variables(), text=True, timeout=timeout_s,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if code is not None:
            assert completed.returncode == code, completed.stdout[-6000:]
        return completed

    def cellfarm(self, *arguments: str, code: int | None = 0) -> str:
        python = Path(sys.executable).parent / "python"
        self_path = {"PYTHONPATH": str(self.root / "workflow")}
        completed = subprocess.run(
            [python, "-m", "cellfarm", *arguments], cwd=self.root, text=True, timeout=TIMEOUT_S,
            env=self.variables() | self_path, capture_output=True, check=False,
        )  # fmt: skip
        if code is not None:
            assert completed.returncode == code, completed.stderr[-6000:]
        return completed.stdout + completed.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start snakemake in its own process group, as a shell does."""
        log = (self.root / "started.log").open("ab")
        return subprocess.Popen(
            ["snakemake", *arguments], cwd=self.root, env=self.variables(), stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (self.root / "started.log").read_text()[-6000:]
            time.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """The processes whose command or working folder names this farm."""
        matches = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                locations = [*process.cmdline(), process.cwd()]
                if process.pid != os.getpid() and any(
                    str(self.root) in location for location in locations
                ):
                    matches.append(process)
        return matches

    def assert_no_processes(self) -> None:
        deadline = time.monotonic() + 15
        while self.processes():
            assert time.monotonic() < deadline, [process.cmdline() for process in self.processes()]
            time.sleep(0.1)

    # -- looking --------------------------------------------------------------------------------

    def result_files(self) -> dict[str, float]:
        """Every result in the store by its path, with its modification time."""
        root = self.root / "results/cells"
        return {
            path.relative_to(root).as_posix(): path.stat().st_mtime_ns
            for path in root.rglob("*.json")
        }

    def measured_since(self, before: dict[str, float]) -> set[str]:
        """The cells (`model library`) with a new or rewritten result."""
        after = self.result_files()
        changed = [path for path, stamp in after.items() if before.get(path) != stamp]
        return {f"{path.split('/')[2]} {path.split('/')[1].partition('@')[0]}" for path in changed}

    def steps_since(self, before: dict[str, float]) -> set[str]:
        """The models, exports and artifacts made since then, by the start of their path."""
        after = self.step_files()
        return {path for path, stamp in after.items() if before.get(path) != stamp}

    def step_files(self) -> dict[str, float]:
        root = self.root / "results"
        folders = ("models", "exports", "artifacts")
        paths = [path for name in folders for path in (root / name).rglob("record.json")]
        latest_ns: dict[str, float] = {}
        for path in paths:  # files of the same name differ in their digests: the newest counts
            name = "/".join(path.relative_to(root).parts[:3])
            latest_ns[name] = max(latest_ns.get(name, 0), path.stat().st_mtime_ns)
        return latest_ns

    def query(self, sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.cellfarm("query", sql, "--format", "json"))
        return rows

    def outlook(self) -> dict[str, Any]:
        """What a run would do: {"cells": {"model library": reason of each stale cell},
        "steps": the missing steps, by the start of their path}."""
        argv = [sys.executable, "-c", _OUTLOOK]
        completed = subprocess.run(
            argv, cwd=self.root, text=True, timeout=TIMEOUT_S, capture_output=True, check=False,
            env=self.variables() | {"PYTHONPATH": str(self.root / "workflow")},
        )  # fmt: skip
        assert completed.returncode == 0, completed.stderr[-6000:]
        answer: dict[str, Any] = json.loads(completed.stdout)
        return answer

    def assert_store_whole(self) -> None:
        """Assert that every file in use in the store and the journals is complete."""
        for path in (self.root / "results/cells").rglob("*"):
            if path.is_file() and path.suffix == ".json" and not path.name.startswith("."):
                document = json.loads(path.read_text(encoding="utf-8"))
                assert document["key"] in path.name

    def journaled(self) -> int:
        """Number of launches in journals; incomplete last lines do not count."""
        files = (self.root / "results/journal").rglob("*.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in files)


def kill_group(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


ALL = {
    f"{model} {library}"
    for model in ("small_squeezenet", "small_mobilenet")
    for library in ("onnxruntime", "ncnn")
}
