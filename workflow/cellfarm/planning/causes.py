"""From files to digests: what the keys of a configuration depend on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base.cells import Cell
from ..base.digests import code_digest, digest
from ..base.errors import UserError
from ..base.project import PACKAGE, Project
from ..conversion.routes import EDGES, READ_IN, native_format, route
from ..devices.facts import fingerprint
from ..envs.environments import MODELS_ENVIRONMENT, identify_lock, library_environment, lock_of
from ..envs.locks import PURPOSES
from ..envs.targets import BROUGHT, Target, target_of
from ..libraries import all_libraries
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.contents import own_files, sha256
from ..wanted.labelled_pictures import identity
from .keys import Causes, LibraryCauses, ModelCauses

RUNNER = PACKAGE / "runner"
#: Titles are for people; nothing measured depends on them.
_FOR_PEOPLE = ("title",)
#: Where a device is, how it is selected and when it is left alone; what is measured does not depend on it.
_OF_THE_FARM = ("address", "labels", "limits", "out_of_service")
#: Where a user's file stands; what is in it counts.
_PLACES = ("file", "path")
#: The scripts of cellfarm/models that only a user's own file passes through.
_FOR_FILES = "user_"
#: The one that only a model with labelled pictures passes through, as it is called in recipes, too.
_LABELLED = "labelled"


def gather(
    project: Project, config: Configuration, cells: list[Cell], facts: Mapping[str, dict[str, Any]]
) -> Causes:
    """All digests for the given cells.

    Args:
        facts: device -> its facts (see cellfarm.devices.facts); the cells are of devices that have some.
    """
    versions = {(cell.library, cell.library_version) for cell in cells}
    return Causes(
        models={name: model_causes(project, recipe) for name, recipe in config.models.items()},
        libraries={
            f"{name}@{version}": library_causes(
                project, name, version, tools.given(config.tools, name)
            )
            for name, version in sorted(versions)
        },
        devices={
            name: digest(
                [
                    _without(device, _OF_THE_FARM),
                    fingerprint(facts[name]),
                    *tools.counted_of_device(device),
                    *built_for(device, facts[name]),
                    *native_code(device),
                ]
            )
            for name, device in config.devices.items()
            if name in facts
        },
        exporter=exporter_digest(project),
        runner=code_digest(RUNNER),
        protocol=digest(config.protocol),
        verification={
            variant: digest(config.tolerance(variant))
            for variant in sorted({cell.variant for cell in cells})
        },
    )


def built_for(device: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What a device's environments are built for, as a list of at most one."""
    target = _target(device, facts)
    return [str(target)] if target else []


def native_code(device: Mapping[str, Any]) -> list[str]:
    """Of the libraries that run in native runners on a device, the digests of those."""
    return [code_digest(*all_libraries()[name].native_sources) for name in device.get("native", ())]


def brought(device: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The environment of the Python that is put on a device which has none, as a list of at most one."""
    target = _target(device, facts)
    return [f"{BROUGHT}+{target}"] if target and target.brought else []


def _target(device: Mapping[str, Any], facts: Mapping[str, Any]) -> Target | None:
    """None for this machine, and for a device that gets no Python."""
    if device["transport"] == "local" or not device.get("python", True):
        return None
    return target_of(facts)


def model_causes(project: Project, recipe: Mapping[str, Any]) -> ModelCauses:
    """The digests that the files of a model depend on: its recipe with the content of the files
    that it names, and the code and the environments that it passes through.

    Raises:
        UserError: a file or folder that the recipe names is not there, or is of no known form.
    """
    try:
        native = native_format(recipe)
    except ValueError as error:
        raise UserError(f"models/{recipe['name']}.yaml: key 'file': {error}") from None
    contents = {what: sha256(project, path) for what, path in own_files(project, recipe).items()}
    pictures = identity(project, recipe) if _LABELLED in recipe else ""
    described = _without(recipe, (*_FOR_PEOPLE, *_PLACES, _LABELLED))
    if pictures:
        described[_LABELLED] = pictures
    if "weights" in described:
        described["weights"] = _without(described["weights"], _PLACES)
    from_file = recipe["source"] == "file"
    names = _environments(native) if from_file else [MODELS_ENVIRONMENT]
    locks = [identify_lock(lock_of(project, name)) for name in names]
    builder = digest([_builder_code(from_file, bool(pictures)), *locks])
    recipe_digest = digest([described, native, contents] if contents else described)
    return ModelCauses(recipe_digest, builder, native, pictures)


def _environments(native: str) -> list[str]:
    """The environments that a user's file passes through on its way to any format."""
    onward = {name for (start, _), name in EDGES.items() if route(native, start)}
    return sorted({MODELS_ENVIRONMENT, *onward})


def exporter_digest(project: Project) -> str:
    """The digest of what turns a model into a source format."""
    return digest([_exporter_code(), identify_lock(lock_of(project, MODELS_ENVIRONMENT))])


def library_causes(
    project: Project, name: str, version: str, given: Mapping[str, str] | None = None
) -> LibraryCauses:
    """The digests of a library at a version.

    Args:
        given: the vendor's own tools for it, on this machine (see cellfarm.wanted.tools).
    """
    library = all_libraries()[name]
    locks = {
        purpose: identify_lock(lock_of(project, library_environment(name, version, purpose)))
        for purpose in PURPOSES
    }
    # Where its converter runs instead for some of what it reads.
    elsewhere = sorted({READ_IN[form] for form in library.sources if form in READ_IN})
    variables = digest(library.variables)
    return LibraryCauses(
        sources=library.sources,
        converter=digest(
            [
                code_digest(library.converter, *library.conversion_modules),
                *(_driver_code(), locks["convert"], variables),
                *(identify_lock(lock_of(project, one)) for one in elsewhere),
                *tools.counted(library, given or {}, "convert"),
            ]
        ),
        runtime=digest(
            [
                code_digest(*library.shipped, *library.tool_modules, library.vocabulary),
                *(locks["run"], variables),
                *tools.counted(library, given or {}, "run"),
            ]
        ),
    )


def _builder_code(from_file: bool, labelled: bool) -> str:
    """All of cellfarm/models but the exporter; a user's file, and labelled pictures, have scripts
    of their own beside."""
    paths = [path for path in _model_sources() if path.stem != "exporting"]
    if not from_file:
        paths = [path for path in paths if not path.stem.startswith(_FOR_FILES)]
    if not labelled:
        paths = [path for path in paths if path.stem != _LABELLED]
    return code_digest(*paths)


def _exporter_code() -> str:
    return code_digest(*(path for path in _model_sources() if path.stem == "exporting"))


def _driver_code() -> str:
    return code_digest(
        PACKAGE / "conversion" / "worker.py", PACKAGE / "conversion" / "cellfarm_convert.py"
    )


def _model_sources() -> list[Path]:
    return sorted((PACKAGE / "models").glob("*.py"))


def _without(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in names}
