"""A farm with a large made-up matrix; `fill` gives every cell a result, so that nothing is stale."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .figures import REPOSITORY, NotMeasurable
from .processes import VENV_BIN, Completed, run, snakemake_variables

SOURCES = ("profiles", "workflow", "config", "models", "devices", "envs")
#: Around the Snakefile's own lines: the CPU time between the two is what planning costs.
PROBE_BEFORE = "import time as _time\n_BEGAN_S = _time.process_time()\n"
PROBE_AFTER = '\nprint("CPU inside the Snakefile:", _time.process_time() - _BEGAN_S)\n'
PROBE_LINE = "CPU inside the Snakefile: "


@dataclass(frozen=True)
class Size:
    """models x library versions x devices cells."""

    models: int
    versions: int
    devices: int

    @property
    def cells(self) -> int:
        return self.models * self.versions * self.devices


class SyntheticFarm:
    """A copy of the sources below `root` with made-up models, library versions and devices."""

    def __init__(self, root: Path, size: Size) -> None:
        self.root = root
        self.size = size
        root.mkdir(parents=True)
        for name in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
        snakefile = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
        (root / "Snakefile").write_text(PROBE_BEFORE + snakefile + PROBE_AFTER, encoding="utf-8")
        self._write_config(self._models(), self._libraries(), self._devices())

    def fill(self) -> None:
        """Commit a small result for every cell, under the keys that planning works out."""
        filler = Path(__file__).with_name("fill_store.py")
        # The farm's own copy of the package: its digests are what the keys are made of.
        variables = snakemake_variables(PYTHONPATH=str(self.root / "workflow"))
        completed = run([VENV_BIN / "python", filler], self.root, variables)
        if completed.code != 0:
            raise NotMeasurable(f"the synthetic farm cannot be filled: {completed.output[-2000:]}")

    def snakemake(self) -> tuple[Completed, float]:
        """Run plain `snakemake`, which must find nothing to do.

        Returns:
            The whole process, and the CPU seconds inside the Snakefile.
        """
        completed = run([VENV_BIN / "snakemake"], self.root, snakemake_variables())
        idle = f"nothing to measure: all {self.size.cells} cells" in completed.output
        # `all` has neither input nor output then: it is the one job, and it does nothing.
        alone = re.search(r"^total +1$|Nothing to be done", completed.output, re.MULTILINE)
        if completed.code != 0 or not idle or not alone:
            raise NotMeasurable(f"snakemake had something to do:\n{completed.output[-3000:]}")
        line = next(line for line in completed.output.splitlines() if line.startswith(PROBE_LINE))
        return completed, float(line.removeprefix(PROBE_LINE))

    def dry_run(self) -> tuple[Completed, float]:
        """Run `snakemake measured --dry-run`, which must find every cell stale.

        Returns:
            The whole process, with the DAG of all jobs, and the CPU seconds inside the Snakefile.
        """
        snakemake: list[str | Path] = [VENV_BIN / "snakemake", "measured", "--dry-run", "--quiet"]
        completed = run(snakemake, self.root, snakemake_variables())
        expected = f"{self.size.cells} of {self.size.cells} cells to measure"
        if completed.code != 0 or expected not in completed.output:
            raise NotMeasurable(f"not every cell is stale:\n{completed.output[-3000:]}")
        line = next(line for line in completed.output.splitlines() if line.startswith(PROBE_LINE))
        return completed, float(line.removeprefix(PROBE_LINE))

    def profile(self) -> str:
        """Where the time goes, function by function."""
        script = (
            "import cProfile, pstats, yaml\n"
            "config = yaml.safe_load(open('config/config.yaml'))\n"
            "profile = cProfile.Profile()\n"
            "profile.enable()\n"
            "from cellfarm.snakemake.pipeline import Pipeline\n"
            "Pipeline(config).targets()\n"
            "profile.disable()\n"
            "pstats.Stats(profile).sort_stats('tottime').print_stats(25)\n"
            "pstats.Stats(profile).sort_stats('cumtime').print_stats(45)\n"
        )
        variables = snakemake_variables(PYTHONPATH=str(self.root / "workflow"))
        return run([VENV_BIN / "python", "-c", script], self.root, variables).output

    def _models(self) -> list[str]:
        originals = sorted((REPOSITORY / "models").glob("*.yaml"))
        names = [f"model{number:03}" for number in range(self.size.models)]
        for number, name in enumerate(names):
            document = _load(originals[number % len(originals)])
            self._write(f"models/{name}.yaml", document | {"name": name})
        return names

    def _libraries(self) -> list[str]:
        """Made-up versions of two libraries: their locks are copies of the real ones."""
        locks = sorted((REPOSITORY / "envs").glob("*.run.txt"))
        originals = sorted({lock.name.partition("@")[0]: lock for lock in locks}.items())[:2]
        references = []
        for number in range(self.size.versions):
            library, lock = originals[number % len(originals)]
            reference = f"{library}@0.{number}"
            for purpose in ("run", "convert"):
                source = lock.with_name(lock.name.replace(".run.txt", f".{purpose}.txt"))
                shutil.copy(source, self.root / "envs" / f"{reference}.{purpose}.txt")
            references.append(reference)
        return references

    def _devices(self) -> list[str]:
        document = _load(REPOSITORY / "devices/host.yaml")
        names = [f"device{number:03}" for number in range(self.size.devices)]
        for name in names:
            self._write(
                f"devices/{name}.yaml",
                document | {"name": name, "work_folder": f"results/work/{name}"},
            )
        return names

    def _write_config(self, models: list[str], libraries: list[str], devices: list[str]) -> None:
        config = _load(REPOSITORY / "config/config.yaml") | {
            "models": models,
            "libraries": libraries,
            "devices": devices,
            "variants": ["fp32"],
            "processors": ["cpu"],
            "threads": [1],
        }
        self._write("config/config.yaml", config)

    def _write(self, name: str, document: Any) -> None:
        text = yaml.safe_dump(document, sort_keys=False)
        (self.root / name).write_text(text, encoding="utf-8")


def _load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
