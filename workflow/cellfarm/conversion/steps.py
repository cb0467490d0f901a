"""The steps before a measurement: each fills one folder, which is named by a digest of its causes.

A job reads only its step of the frozen plan: its inputs are resolved when the plan is made. Paths are
relative to the project's folder.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..base.code import PlannedCode
from ..base.names import Format, Precision
from ..wanted.recipes import Recipe


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The task of one job.

    Args:
        id: its name among the steps of its kind, and the end of its folder's path.
        output: the record that the step writes.
        inputs: the records that the step needs.
    """

    id: str
    output: str
    inputs: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The folder of the output."""
        return self.output.rpartition("/")[0]


class EnvironmentStep(Step, frozen=True, kw_only=True):
    """An environment is built from its lock; the id is the name of its folder."""

    name: str


class DownloadStep(Step, frozen=True, kw_only=True):
    """Trained weights are fetched."""

    model: str
    url: str
    sha256: str


class WorkerStep(Step, frozen=True, kw_only=True):
    """A worker runs in an environment.

    Args:
        environment: the name of the environment.
        code: the worker's code.
    """

    environment: str
    code: PlannedCode


class ModelStep(WorkerStep, frozen=True, kw_only=True):
    """A model is built, or a user's file is taken over.

    Args:
        files: the files that it is built from, by kind: `file`, `weights`, `labelled`.
        download: the folder with the record of the fetched weights.
    """

    recipe: Recipe
    module: str
    files: dict[str, str] = {}
    download: str | None = None


class DeriveStep(WorkerStep, frozen=True, kw_only=True):
    """Passes make a derived model of a model.

    Args:
        parent: the folder of the model.
        passes: (name, settings) of each, in order.
        refusal: why no pass can be applied to such a model.
    """

    model: str
    parent: str
    passes: tuple[tuple[str, dict[str, Any]], ...]
    refusal: str | None = None


class ExportStep(WorkerStep, frozen=True, kw_only=True):
    """A model is exported to another format.

    Args:
        program: the folder of the model, built or derived.
        source: the folder of the exported file: the model's, or that of an export.
        exporter: the digest of all exporters between the model and this format.
    """

    model: str
    module: str
    program: str
    source: str
    source_format: Format
    format: Format
    exporter: str


class ArtifactStep(WorkerStep, frozen=True, kw_only=True):
    """A model is converted for a library.

    Args:
        source: the folder of the converted file: the model's, or that of an export.
        source_format: None if no route leads to a format that the library reads.
        native: the format of the model's files.
        exporter: as of an export; empty if the model's files are read.
        converter: the digest of the converter's code, lock, settings, tools and precision.
        tools: the paths of the vendor's tools (see cellfarm.wanted.tools).
    """

    model: str
    library: str
    version: str
    variant: str
    precision: Precision
    program: str
    source: str
    source_format: Format | None
    native: Format
    exporter: str
    converter: str
    tools: dict[str, str] = {}
