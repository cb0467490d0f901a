"""The steps before a measurement, typed: each fills one folder that is named by a digest of its causes.

A job reads its step from the frozen plan, and nothing else: what it needs is resolved when the plan is made.
Paths are relative to the project's folder.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..base.code import PlannedCode
from ..base.names import Format, Precision
from ..wanted.recipes import Recipe


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one job makes.

    Args:
        id: its name among the steps of its kind, and the end of its folder's path.
        output: the record that is there when the step is done.
        inputs: the records that must be there before.
    """

    id: str
    output: str
    inputs: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where the output stands."""
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
        code: what the worker is.
    """

    environment: str
    code: PlannedCode


class ModelStep(WorkerStep, frozen=True, kw_only=True):
    """A model is built, or a file of the user's own is taken over.

    Args:
        files: what is built from beside the recipe, by what it is: `file`, `weights`, `labelled`.
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
        source: the folder that holds what is exported: the model's, or that of an export.
        exporter: the digest of the code that leads from the model to this format.
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
        source: the folder that holds what is converted: the model's, or that of an export.
        source_format: None where no route leads to a format that the library reads.
        native: the format of the model's own files.
        exporter: as of an export; empty where the model's own files are read.
        converter: the digest of the converter's code, lock, settings, tools and precision.
        tools: the vendor's own, by path (see cellfarm.wanted.tools).
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
