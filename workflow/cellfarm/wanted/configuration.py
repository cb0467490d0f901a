"""What the user wants: the config, and the models, variants, devices and protocol it names, all validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from ..base import documents
from ..base.errors import UserError
from ..base.names import NAME_PATTERN, UNIQUE, Name, Processor
from ..base.project import Project
from ..libraries import all_libraries
from ..measures.tolerances import Tolerance
from . import labelled_pictures, tools
from .devices import AnyDevice, parse_device
from .protocols import Protocol, read_protocol
from .recipes import Recipe, RecipeDocument
from .variants import Variant, VariantName, read_variants

#: What a list of devices may select them by.
_LABEL = "label:"
_LISTS = ("models", "libraries", "devices", "variants", "processors", "threads")

LibraryReference = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9][a-z0-9_]*(@[A-Za-z0-9][A-Za-z0-9_.+-]*)?$",
        description="a library as name or name@version",
    ),
]
DeviceReference = Annotated[
    str,
    Meta(
        max_length=106,
        pattern=f"^(label:)?{NAME_PATTERN[1:]}",
        description="a device's name, or label:<label>",
    ),
]
Count = Annotated[int, Meta(ge=1, le=1024)]
Threads = Annotated[
    Count | Literal["all"],
    Meta(description="a whole number from 1 to 1024, or all (every core of the device)"),
]


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Cells that `include` adds or `exclude` takes away: one value or a list for each axis."""

    model: (
        Annotated[Name | tuple[Name, ...], Meta(description="a model, or a list of them")] | None
    ) = None
    library: (
        Annotated[
            LibraryReference | tuple[LibraryReference, ...],
            Meta(description="a library, or a list of them"),
        ]
        | None
    ) = None
    variant: (
        Annotated[
            VariantName | tuple[VariantName, ...], Meta(description="a variant, or a list of them")
        ]
        | None
    ) = None
    device: (
        Annotated[Name | tuple[Name, ...], Meta(description="a device, or a list of them")] | None
    ) = None
    processor: (
        Annotated[
            Processor | tuple[Processor, ...], Meta(description="a processor, or a list of them")
        ]
        | None
    ) = None
    threads: (
        Annotated[
            Count | Literal["all"] | tuple[Threads, ...],
            Meta(description="a thread count, all, or a list of them"),
        ]
        | None
    ) = None

    def values(self, axis: str) -> tuple[Any, ...] | None:
        """The values of an axis; None where the entry leaves it out."""
        value = getattr(self, axis)
        return value if isinstance(value, tuple) or value is None else (value,)


_ENTRY = Annotated[Entry, Meta(extra_json_schema={"minProperties": 1})]
_LIST: dict[str, Any] = {"min_length": 1, "extra_json_schema": UNIQUE}


class Config(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A config: cells = models x libraries x variants x devices x processors x threads."""

    models: Annotated[
        tuple[Name, ...],
        Meta(description="a list of models: file names in models/ without .yaml", **_LIST),
    ]
    libraries: Annotated[
        tuple[LibraryReference, ...],
        Meta(description="a list of libraries: name, or name@version", **_LIST),
    ]
    devices: Annotated[
        tuple[DeviceReference, ...],
        Meta(
            description="a list of devices: file names in devices/ without .yaml, or label:<label>",
            **_LIST,
        ),
    ]
    variants: Annotated[
        tuple[VariantName, ...],
        Meta(
            description="a list of variants: file names in config/variants/ without .yaml", **_LIST
        ),
    ]
    processors: Annotated[
        tuple[Processor, ...], Meta(description="a list of processors, such as cpu", **_LIST)
    ]
    threads: Annotated[
        tuple[Threads, ...],
        Meta(description="a list of thread counts: whole numbers from 1, or all", **_LIST),
    ]
    protocol: Annotated[
        Name, Meta(description="a protocol: a file name in config/protocols/ without .yaml")
    ]
    exclude: tuple[_ENTRY, ...] = ()
    include: tuple[_ENTRY, ...] = ()
    tools: Annotated[
        dict[
            Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_]*$")],
            dict[str, Annotated[str, Meta(min_length=1, max_length=1000)]],
        ],
        Meta(
            description="library -> what its vendor's tools need: name -> path on this machine, or a "
            "setting"
        ),
    ] = {}
    tolerances: Annotated[
        dict[VariantName, Tolerance],
        Meta(
            description="variant -> what an output may differ from the reference before it is wrong"
        ),
    ] = {}

    def names(self, axis: str, listed: tuple[str, ...]) -> tuple[str, ...]:
        """The names under an axis, those of include and exclude entries too, each once."""
        more = [
            name for entry in (*self.include, *self.exclude) for name in entry.values(axis) or ()
        ]
        return tuple(dict.fromkeys([*listed, *more]))


class Configuration(Struct, frozen=True):
    """A validated config with the documents that it names, each by name.

    `devices` of the config are names only: labels are resolved.
    """

    where: str
    config: Config
    models: dict[str, Recipe]
    variants: dict[str, Variant]
    devices: dict[str, AnyDevice]
    protocol: Protocol

    def tolerance(self, variant: str) -> Tolerance:
        """The config's tolerance of a variant, or the variant's own."""
        return self.config.tolerances.get(variant, self.variants[variant].tolerance)


def load(project: Project, document: Mapping[str, Any], where: str) -> Configuration:
    """Validate a config and read what it names.

    Args:
        document: the config, as Snakemake merged it from files and --config.
        where: how to name it in messages.

    Raises:
        UserError: anything that is wrong with it, in one message.
    """
    listed = {name: _listed(name, value) for name, value in document.items()}
    config = documents.parse(listed, Config, where)
    tools.check(config.tools, where)
    config = structs.replace(config, devices=_with_labels(project, config.devices, where))
    models = config.names("model", config.models)
    devices = config.names("device", config.devices)
    # A misspelt name under `tolerances` would be without effect, in silence.
    variants = dict.fromkeys([*config.names("variant", config.variants), *config.tolerances])
    return Configuration(
        where=where,
        config=config,
        models={name: read_model(project, name, where) for name in models},
        variants=read_variants(project.config / "variants", [*variants], where),
        devices={name: read_device(project, name, where) for name in devices},
        protocol=read_protocol(
            _existing(project.config / "protocols", config.protocol, where, "protocol")
        ),
    )


def load_file(
    project: Project, path: Path | None = None, changes: Mapping[str, Any] | None = None
) -> Configuration:
    """config/config.yaml, with the keys of another file over it, as `snakemake --configfile` has it.

    Args:
        changes: values of further keys, which replace those of the files.
    """
    default = project.config / "config.yaml"
    document: dict[str, Any] = {}
    for file in dict.fromkeys((default, path or default)):
        content = documents.load_yaml(file)
        if not isinstance(content, Mapping):
            raise UserError(f"{file}: expected a mapping of keys to values")
        _overlay(document, content)
    return load(project, document | dict(changes or {}), project.relative(path or default))


def _overlay(document: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        old = document.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            _overlay(old, value)
        else:
            document[key] = value


def read_model(project: Project, name: str, where: str) -> Recipe:
    """A model's recipe.

    Raises:
        UserError: there is none, or it is not what a recipe has to be.
    """
    path = _existing(project.models, name, where, "model")
    recipe = parse_recipe(documents.load_yaml(path), str(path))
    _check_name(path, recipe.name)
    return recipe


def parse_recipe(document: Any, where: str) -> Recipe:
    """A recipe from its parsed file.

    Raises:
        UserError: it is not what a recipe has to be.
    """
    recipe = documents.parse(document, RecipeDocument, where)
    inputs = [entry.name for entry in recipe.inputs or ()]
    for kind, names in (("inputs", inputs), ("outputs", recipe.outputs or ())):
        if len(set(names)) != len(names):
            raise UserError(f"{where}: key '{kind}': a name stands there twice")
    labelled_pictures.check(recipe, where)
    return recipe


def read_device(project: Project, name: str, where: str) -> AnyDevice:
    """A device's description.

    Raises:
        UserError: there is none, or it is not what its transport asks for.
    """
    path = _existing(project.devices, name, where, "device")
    device = parse_device(documents.load_yaml(path), str(path))
    _check_name(path, device.name)
    if ".." in Path(device.work_folder).parts:
        raise UserError(
            f"{path}: key 'work_folder': expected a path without '..'; found '{device.work_folder}'"
        )
    known = [library.name for library in all_libraries().values() if library.native_sources]
    for library in device.native:
        if library not in known:
            raise UserError(
                f"{path}: key 'native': '{library}' has no native runner"
                f"{documents.suggestion(library, known)}; there are: {', '.join(known)}"
            )
    return device


def _with_labels(project: Project, listed: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Names, with `label:x` replaced by those of all devices that carry the label x."""
    names: list[str] = []
    for reference in listed:
        label = reference.removeprefix(_LABEL)
        if label == reference:
            names.append(reference)
            continue
        known = sorted(path.stem for path in project.devices.glob("*.yaml"))
        labels = {name: read_device(project, name, where).labels for name in known}
        labelled = [name for name in known if label in labels[name]]
        if not labelled:
            there = sorted({label for own in labels.values() for label in own})
            hint = documents.suggestion(label, there)
            raise UserError(
                f"{where}: no device carries the label '{label}'{hint}; there are: "
                f"{', '.join(there) or 'none'}"
            )
        names += labelled
    return tuple(dict.fromkeys(names))


def _check_name(path: Path, name: str) -> None:
    if name != path.stem:
        raise UserError(
            f"{path}: key 'name': expected '{path.stem}', as the file is called; found '{name}'"
        )


def _existing(folder: Path, name: str, where: str, kind: str) -> Path:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UserError(
            f"{where}: unknown {kind} '{name}'{documents.suggestion(name, known)}: "
            f"there is no {folder.name}/{name}.yaml; there are: {', '.join(known) or 'none'}"
        )
    return path


def _listed(name: str, value: Any) -> Any:
    """`--config models=squeezenet1_1` and `models=a,b` mean lists, and a list's numbers come as
    text from the command line."""
    if name not in _LISTS:
        return value
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]").split(",") if part.strip()]
    values = value if isinstance(value, list) else [value]
    if name == "threads":
        return [_whole(number) for number in values]
    return values


def _whole(value: Any) -> Any:
    """`2` for "2" (as the command line gives it) and for 2.0; anything else as it is."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
