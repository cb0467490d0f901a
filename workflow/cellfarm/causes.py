"""From files to digests: what the keys of a configuration depend on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .configuration import Configuration
from .core.cells import Cell
from .core.digests import code_digest, digest
from .core.keys import Causes, LibraryCauses, ModelCauses
from .devices.facts import fingerprint
from .environments import MODELS_ENVIRONMENT, identify_lock, library_environment, lock_of
from .libraries import all_libraries
from .locks import PURPOSES
from .project import PACKAGE, Project

RUNNER = PACKAGE / "runner"
#: Titles are for people; nothing measured depends on them.
_FOR_PEOPLE = ("title",)


def gather(
    project: Project, config: Configuration, cells: list[Cell], facts: Mapping[str, dict[str, Any]]
) -> Causes:
    """All digests for the given cells.

    Args:
        facts: device -> its facts (see cellfarm.devices.facts).
    """
    versions = {(cell.library, cell.library_version) for cell in cells}
    return Causes(
        models={name: model_causes(project, recipe) for name, recipe in config.models.items()},
        libraries={
            f"{name}@{version}": library_causes(project, name, version)
            for name, version in sorted(versions)
        },
        devices={
            name: digest([device, fingerprint(facts[name])])
            for name, device in config.devices.items()
        },
        exporter=exporter_digest(project),
        runner=code_digest(RUNNER),
        protocol=digest(config.protocol),
        verification={
            variant: digest(config.tolerance(variant))
            for variant in sorted({cell.variant for cell in cells})
        },
    )


def model_causes(project: Project, recipe: Mapping[str, Any]) -> ModelCauses:
    """The digests that the files of a model depend on."""
    builder = digest([_builder_code(), identify_lock(lock_of(project, MODELS_ENVIRONMENT))])
    return ModelCauses(digest(_without(recipe, _FOR_PEOPLE)), builder)


def exporter_digest(project: Project) -> str:
    """The digest of what turns a model into a source format."""
    return digest([_exporter_code(), identify_lock(lock_of(project, MODELS_ENVIRONMENT))])


def library_causes(project: Project, name: str, version: str) -> LibraryCauses:
    library = all_libraries()[name]
    locks = {
        purpose: identify_lock(lock_of(project, library_environment(name, version, purpose)))
        for purpose in PURPOSES
    }
    variables = digest(library.variables)
    return LibraryCauses(
        source=library.source,
        converter=digest(
            [code_digest(library.converter), _driver_code(), locks["convert"], variables]
        ),
        runtime=digest(
            [code_digest(*library.shipped, library.vocabulary), locks["run"], variables]
        ),
    )


def _builder_code() -> str:
    return code_digest(*_model_sources(exporting=False))


def _exporter_code() -> str:
    return code_digest(*_model_sources(exporting=True))


def _driver_code() -> str:
    return code_digest(
        PACKAGE / "conversion" / "worker.py", PACKAGE / "conversion" / "cellfarm_convert.py"
    )


def _model_sources(exporting: bool) -> list[Path]:
    """The scripts of cellfarm/models: exporting.py is the exporter, the rest the builder."""
    paths = sorted((PACKAGE / "models").glob("*.py"))
    return [path for path in paths if (path.stem == "exporting") == exporting]


def _without(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in names}
