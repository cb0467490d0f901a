"""A copy of the checkout's sources with its own results: for runs that must not touch the checkout.

What the checkout has made already - models, exports, artifacts - is there as links, each folder by
itself, so that what is missing is made in the copy. Environments are the checkout's own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cellfarm.base.errors import CellfarmError
from cellfarm.base.project import Project
from cellfarm.base.records import RECORD
from cellfarm.envs.environments import build, locate
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import Outlook, look
from cellfarm.planning.plan import Plan
from cellfarm.store.results import Store
from cellfarm.wanted.configuration import load_file
from cellfarm.wanted.protocols import Protocol
from msgspec import structs

from .figures import REPOSITORY, SCRATCH, NotMeasurable
from .processes import VENV_BIN, Completed, run, snakemake_variables
from .synthetic_farm import SOURCES

#: Folders of results that are named by their content -> how deep below them those folders are.
_SHARED = {"models": 2, "exports": 3, "artifacts": 4, "downloads": 1}


@dataclass(frozen=True)
class CopiedProject(Project):
    """A project whose environments are in a set folder, whatever the process's variables say."""

    shared: Path

    @property
    def environments(self) -> Path:
        return self.shared


class ProjectCopy:
    """See the module; use `open_copy`.

    Args:
        root: an empty folder.
        is_made_up: it has none of the checkout's results and environments.
    """

    def __init__(self, root: Path, is_made_up: bool = False) -> None:
        self.root = root
        environments = root / ".envs" if is_made_up else Project(REPOSITORY).environments
        self.project: Project = CopiedProject(root, environments)
        self._attempts = 0
        for name in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
        shutil.copyfile(REPOSITORY / "Snakefile", root / "Snakefile")
        if not is_made_up:
            self._link_results()

    def write(self, name: str, document: Any) -> None:
        text = yaml.safe_dump(document, sort_keys=False)
        (self.root / name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((self.root / name).read_text(encoding="utf-8")))

    def add_device(self, document: Mapping[str, Any]) -> None:
        self.write(f"devices/{document['name']}.yaml", dict(document))

    @property
    def variables(self) -> dict[str, str]:
        """The variables of commands that run in the copy with its own package."""
        return snakemake_variables(
            CELLFARM_ENVIRONMENTS=str(self.project.environments),
            PYTHONPATH=str(self.root / "workflow"),
        )

    def snakemake(self, *arguments: str) -> Completed:
        """
        Raises:
            NotMeasurable: it failed.
        """
        completed = run([VENV_BIN / "snakemake", *arguments], self.root, self.variables)
        if completed.code != 0:
            raise NotMeasurable(
                f"snakemake ended with {completed.code}:\n{completed.output[-4000:]}"
            )
        return completed

    def results(self) -> list[dict[str, Any]]:
        """Every result in the store, in the order of their paths."""
        paths = sorted(Store(self.project.cells).files())
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def record_paths(self) -> list[Path]:
        """The records of the experiments."""
        return sorted((self.project.results / "experiments").glob("*/*/*.json"))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in self.record_paths()]

    def forget_results(self) -> None:
        """Forget the results, so that everything is measured anew; files on devices stay there."""
        for name in ("cells", "experiments", "journal"):
            shutil.rmtree(self.project.results / name, ignore_errors=True)

    def plan(self, protocol: Protocol | None = None, **axes: Any) -> tuple[Outlook, Plan]:
        """Plan the copy's config with other axes; build the cells' environments.

        Args:
            protocol: replaces the config's protocol.

        Returns:
            The plan, and the same frozen.

        Raises:
            NotMeasurable: a device does not answer, or an artifact is not there yet.
        """
        configuration = load_file(self.project, changes=axes)
        if protocol is not None:
            configuration = structs.replace(configuration, protocol=protocol)
        outlook = look(self.project, configuration)
        if outlook.skipped:
            reasons = (f"{name}: {reason}" for name, reason in outlook.skipped.items())
            raise NotMeasurable("; ".join(reasons))
        self._attempts += 1
        plan = freeze(outlook, attempt=self._attempts)
        for planned in outlook.cells:
            state = build(locate(self.project, planned.needs.run))
            if state.status != "ok":
                raise NotMeasurable(f"{planned.cell.label}: {state.reason}")
            if not (self.project.root / planned.artifact / RECORD).is_file():
                raise NotMeasurable(
                    f"{planned.cell.label}: its artifact is not there or not up to date; run "
                    "`make` first"
                )
        return outlook, plan

    def _link_results(self) -> None:
        for name, depth in _SHARED.items():
            source = REPOSITORY / "results" / name
            for record in source.glob("/".join(["*"] * depth + [RECORD])):
                link = self.project.results / name / record.parent.relative_to(source)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(record.parent.resolve())


@contextlib.contextmanager
def open_copy(name: str, is_made_up: bool = False) -> Iterator[ProjectCopy]:
    """A copy in a folder that is removed afterwards.

    Raises:
        NotMeasurable: the product refuses something in the block.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=SCRATCH) as folder:
        try:
            yield ProjectCopy(Path(folder), is_made_up)
        except CellfarmError as error:
            raise NotMeasurable(str(error)) from error
