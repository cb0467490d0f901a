"""What the warehouse holds beside results: devices with their peaks, models with their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..base.files import read_object
from ..base.project import Project
from ..base.records import FILES
from ..experiments.peak import with_peak


def devices(project: Project, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Device -> its facts, with `peak` where that was measured."""
    return {name: with_peak(project.peak(name), known) for name, known in facts.items()}


def models(project: Project) -> Iterator[dict[str, Any]]:
    """Rows of the view `models`: every model that was built in this project and not deleted."""
    for path in sorted((project.results / "models").glob(f"*/*/{FILES}/model.json")):
        description = read_object(path) or {}
        folder = path.parents[1]
        yield {
            "id": folder.name,
            "model": folder.parent.name,
            "parameters": description.get("parameters"),
            "flops": description.get("flops"),
        }
