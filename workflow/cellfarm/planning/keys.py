"""Keys: a digest of everything that a result depends on, and of nothing else. Pure.

Every cause is itself a digest, worked out elsewhere from files (see cellfarm.planning.causes). The chain is
    model -> (export) -> artifact -> cell
so that a model's files and an artifact's files have names of their own, shared by all the cells
that need them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..base.cells import Cell
from ..base.digests import digest
from ..conversion.routes import at_hand, choose, route

#: The causes of a cell, in the order in which a change is reported, with how it is worded.
CAUSES = {
    "model": "the model changed",
    "exporter": "the exporter's code changed",
    "converter": "the converter (its code or its lock) changed",
    "library": "the library (its back end or its lock) changed",
    "runner": "the runner's code changed",
    "device": "the device (its description or its fingerprint) changed",
    "protocol": "the protocol changed",
    "verification": "the tolerances changed",
}
#: Causes that only some cells have.
FURTHER_CAUSES = {"labelled": "the labelled pictures changed"}


@dataclass(frozen=True)
class ModelCauses:
    """Digests of what a model's files depend on, and the format that they are in.

    `recipe` covers the labelled pictures, too; their own digest tells that it was they that changed.
    """

    recipe: str
    builder: str
    native: str = "pt2"
    labelled: str = ""

    @cached_property
    def id(self) -> str:
        """The name of the model's files."""
        return digest(["model", self.recipe, self.builder])


@dataclass(frozen=True)
class LibraryCauses:
    """Digests of what a library's artifacts and launches depend on.

    `sources` are the formats its converter reads, best first; `converter` covers the converter's
    code and the lock of its environment; `runtime` the back end's code and the lock of the run
    environment.
    """

    sources: tuple[str, ...]
    converter: str
    runtime: str


@dataclass(frozen=True)
class Causes:
    """Every digest that the keys of a matrix are made of."""

    models: Mapping[str, ModelCauses]
    libraries: Mapping[str, LibraryCauses]  # by `library@version`
    devices: Mapping[str, str]
    exporter: str
    runner: str
    protocol: str
    verification: Mapping[str, str]  # by variant


def export_id(model: ModelCauses, exporter: str, source: str) -> str:
    """The name of a model exported to a format that it is not in; it covers the way there."""
    return digest(["export", model.id, exporter, route(model.native, source)])


def artifact_id(cell: Cell, causes: Causes) -> str:
    """The name of the artifact that a cell runs; threads, device and processor have no part."""
    library = causes.libraries[cell.versioned_library]
    model = causes.models[cell.model]
    return identify_artifact(model.id, causes.exporter, library, cell.variant, model.native)


def identify_artifact(
    model_id: str, exporter: str, library: LibraryCauses, variant: str, native: str = "pt2"
) -> str:
    """The name of an artifact from the digests it depends on.

    Args:
        native: the format that the model is in.
    """
    exporter = exporter_of(exporter, library, native)
    return digest(["artifact", model_id, exporter, conversion_of(library, native), variant])


def cell_causes(cell: Cell, causes: Causes) -> dict[str, str]:
    """The digests that make this cell's key, by cause."""
    library = causes.libraries[cell.versioned_library]
    model = causes.models[cell.model]
    return {
        **({"labelled": model.labelled} if model.labelled else {}),
        "model": model.id,
        "exporter": exporter_of(causes.exporter, library, model.native),
        "converter": conversion_of(library, model.native),
        "library": library.runtime,
        "runner": causes.runner,
        "device": causes.devices[cell.device],
        "protocol": causes.protocol,
        "verification": causes.verification[cell.variant],
    }


def cell_key(cell: Cell, causes: Mapping[str, str]) -> str:
    """The key of a cell under the given causes (see `cell_causes`)."""
    return digest(["cell", cell.as_dict(), dict(causes)])


def conversion_of(library: LibraryCauses, native: str) -> str:
    """The digest of a library's converter and of the way to it."""
    source = choose(native, library.sources)
    return digest([library.converter, route(native, source) if source else None])


def exporter_of(exporter: str, library: LibraryCauses, native: str = "pt2") -> str:
    """The exporter's digest; none for a library that reads the model's own files."""
    return "" if choose(native, library.sources) in (*at_hand(native), None) else exporter
