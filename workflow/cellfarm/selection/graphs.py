"""Descriptions of models' graphs, read from ONNX files once and kept beside the exports.

Builds do not write them: that would change the digest of how models are built, and with it every key.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..base.code import PlannedCode
from ..base.digests import digest
from ..base.errors import CellfarmError, UserError
from ..base.files import read_object
from ..base.project import Project
from ..base.records import FILES as STORED
from ..base.records import RECORD, read_record
from ..conversion.routes import FILES
from ..conversion.workers import fill
from ..envs.environments import MODELS_ENVIRONMENT, Environment, build, locate
from .material import Graph


def _worker() -> PlannedCode:
    return PlannedCode.of(["selection/graph_worker.py"], ["selection"])


def how_to_export(models: Sequence[str]) -> str:
    """The command that makes the graphs of models known."""
    return (
        "this does it, and measures nothing: "
        f"snakemake converted --config models={','.join(models)} libraries=onnxruntime"
    )


class Graphs:
    """The graphs of a project's models. The environment that reads them is installed when needed."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def of_models(self, models: Iterable[str]) -> dict[str, Graph]:
        """The graphs of those models that are exported to ONNX with all sizes."""
        graphs = {model: self._of_model(model) for model in models}
        return {model: graph for model, graph in graphs.items() if isinstance(graph, dict)}

    def of_model(self, model: str) -> Graph:
        """
        Raises:
            UserError: it has not been exported to ONNX, or cannot be read.
        """
        graph = self._of_model(model)
        if isinstance(graph, str):
            raise UserError(f"{model}: {graph}")
        return graph

    def of_file(self, file: Path) -> Graph:
        """The graph of a file that is no model of the project; nothing is kept.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if not file.is_file():
            raise UserError(f"there is no file {file}")
        with tempfile.TemporaryDirectory(prefix="cellfarm-", ignore_cleanup_errors=True) as folder:
            graph = self._described(file, Path(folder) / "graph")
        if isinstance(graph, str):
            raise UserError(f"{file}: {graph}")
        return graph

    def _of_model(self, model: str) -> dict[str, Any] | str:
        """A model's graph, or why it is not known."""
        source = self._newest_export(model)
        if source is None:
            return f"not exported to ONNX yet; {how_to_export([model])}"
        record = read_record(source)
        content = record.content if record else None
        identity = digest([content, _worker().digest])
        folder = self._project.results / "exports" / model / "graph" / identity
        return self._described(source / STORED / FILES["onnx"], folder)

    def _newest_export(self, model: str) -> Path | None:
        """The folder of a model's newest ONNX file: an export, or the user's file."""
        results = self._project.results
        records = [
            *(results / "exports" / model / "onnx").glob(f"*/{RECORD}"),
            *(results / "models" / model).glob(f"*/{RECORD}"),
        ]
        complete = [path for path in records if (path.parent / STORED / FILES["onnx"]).is_file()]
        newest = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
        return newest.parent if newest else None

    def _described(self, file: Path, folder: Path) -> dict[str, Any] | str:
        """The description in a folder, which is written first if missing; or why there is none."""
        record = read_record(folder)
        if record is None or record.status != "ok":
            request = {"file": str(file.absolute())}
            record = fill(self._project, folder, self._reader, _worker(), request)
        if record.status != "ok":
            return str(record.reason)
        return read_object(folder / STORED / "graph.json") or "its description is damaged"

    @cached_property
    def _reader(self) -> Environment:
        """
        Raises:
            CellfarmError: it cannot be installed.
        """
        environment = locate(self._project, MODELS_ENVIRONMENT)
        if environment.state() is None:
            print("Installing the environment that reads models ...", file=sys.stderr)
        state = build(environment)
        if state.status != "ok":
            raise CellfarmError(str(state.reason))
        return environment
