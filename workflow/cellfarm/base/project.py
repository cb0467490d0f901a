"""Where things stand: one object for every path of a project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """A checkout: `root` holds the Snakefile."""

    root: Path

    @classmethod
    def here(cls) -> Project:
        """The project of the working directory, or the nearest one above it; else this checkout."""
        start = Path.cwd()
        for folder in (start, *start.parents):
            if (folder / "Snakefile").is_file() and (folder / "workflow" / "cellfarm").is_dir():
                return cls(folder)
        return cls(PACKAGE.parents[1])

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def devices(self) -> Path:
        return self.root / "devices"

    @property
    def locks(self) -> Path:
        return self.root / "envs"

    @property
    def environments(self) -> Path:
        """Where environments are built; CELLFARM_ENVIRONMENTS lets several checkouts share them."""
        return Path(os.environ.get("CELLFARM_ENVIRONMENTS") or self.root / ".envs")

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def cells(self) -> Path:
        return self.results / "cells"

    @property
    def warehouse(self) -> Path:
        return self.results / "cellfarm.duckdb"

    @property
    def plans(self) -> Path:
        return self.results / "plans"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def journal(self, device: str, key: str) -> Path:
        return self.results / "journal" / device / f"{key}.jsonl"

    def calibration(self, device: str) -> Path:
        """How fast a device was in each experiment."""
        return self.results / "devices" / f"{device}.calibration.jsonl"

    def peak(self, device: str) -> Path:
        """What a device reaches at most (see cellfarm.experiments.peak)."""
        return self.results / "devices" / f"{device}.peak.json"

    def relative(self, path: Path) -> str:
        """A path as a person in the project's root would write it."""
        try:
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return str(path)
