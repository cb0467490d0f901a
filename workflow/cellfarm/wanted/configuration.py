"""What the user wants: the config, and the models, devices and protocol it names, all validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import documents
from ..base.errors import UserError
from ..base.project import Project
from ..libraries import all_libraries
from . import labelled_pictures as labelled
from . import tools

#: Fewer windows tell no level of throughput (see cellfarm.analysis.sustained).
_LEAST_WINDOWS = 4

#: Used for a variant whose tolerances the config does not give.
DEFAULT_TOLERANCES: dict[str, dict[str, Any]] = {
    "fp32": {"min_cosine": 0.999, "max_relative_error": 0.01, "top1": True},
    "fp16": {"min_cosine": 0.995, "max_relative_error": 0.1, "top1": False},
    "int8": {"min_cosine": 0.9, "max_relative_error": 1.0, "top1": False},
    "int8_dynamic": {"min_cosine": 0.95, "max_relative_error": 0.5, "top1": False},
    "int8_weights": {"min_cosine": 0.98, "max_relative_error": 0.5, "top1": False},
}
#: What a list of devices may select them by.
_LABEL = "label:"
_LISTS = ("models", "libraries", "devices", "variants", "processors", "threads")


@dataclass(frozen=True)
class Configuration:
    """A validated config with the documents that it names, each by name."""

    where: str
    document: dict[str, Any]
    models: dict[str, dict[str, Any]]
    devices: dict[str, dict[str, Any]]
    protocol: dict[str, Any]

    def tolerance(self, variant: str) -> dict[str, Any]:
        return dict(self.document.get("tolerances", {}).get(variant, DEFAULT_TOLERANCES[variant]))

    @property
    def tools(self) -> dict[str, dict[str, str]]:
        """The vendors' own tools on this machine, by library (see cellfarm.wanted.tools)."""
        return dict(self.document.get("tools", {}))


def load(project: Project, document: Mapping[str, Any], where: str) -> Configuration:
    """Validate a config and read what it names.

    Args:
        document: the config, as Snakemake merged it from files and --config.
        where: how to name it in messages.

    Raises:
        UserError: anything that is wrong with it, in one message.
    """
    config = {name: _listed(name, value) for name, value in document.items()}
    schemas = project.config / "schemas"
    documents.check(config, schemas / "config.schema.json", where)
    tools.check(config.get("tools", {}), where)
    entries = [*config.get("include", ()), *config.get("exclude", ())]
    models = _wanted(config["models"], entries, "model")
    config["devices"] = _with_labels(project, config["devices"], where)
    devices = _wanted(config["devices"], entries, "device")
    return Configuration(
        where=where,
        document=config,
        models={name: read_model(project, name, where) for name in models},
        devices={name: read_device(project, name, where) for name in devices},
        protocol=read_protocol(project, config["protocol"], where),
    )


def load_file(project: Project, path: Path | None = None) -> Configuration:
    """config/config.yaml, with the keys of another file over it, as `snakemake --configfile` has it."""
    default = project.config / "config.yaml"
    document: dict[str, Any] = {}
    for one in dict.fromkeys((default, path or default)):
        found = documents.load_yaml(one)
        if not isinstance(found, Mapping):
            raise UserError(f"{one}: expected a mapping of keys to values")
        _overlay(document, found)
    return load(project, document, project.relative(path or default))


def _overlay(document: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        old = document.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            _overlay(old, value)
        else:
            document[key] = value


def read_model(project: Project, name: str, where: str) -> dict[str, Any]:
    """A model's recipe.

    Raises:
        UserError: there is none, or it is not what its schema asks for.
    """
    recipe = _named(project.models, name, _model_schema(project), where, "model")
    _check_model(recipe, f"{project.models / name}.yaml")
    return recipe


def check_model(project: Project, recipe: Mapping[str, Any], where: str) -> None:
    """Raise one UserError if a recipe that is not written yet would not be accepted."""
    documents.check(recipe, _model_schema(project), where)
    _check_model(recipe, where)


def _model_schema(project: Project) -> Path:
    return project.config / "schemas/model.schema.json"


def _check_model(recipe: Mapping[str, Any], where: str) -> None:
    inputs = [entry["name"] for entry in recipe.get("inputs", ())]
    for kind, names in (("inputs", inputs), ("outputs", recipe.get("outputs", ()))):
        if len(set(names)) != len(names):
            raise UserError(f"{where}: key '{kind}': a name stands there twice")
    labelled.check(recipe, where)


def read_device(project: Project, name: str, where: str) -> dict[str, Any]:
    """A device's description.

    Raises:
        UserError: there is none, or it is not what its schema asks for.
    """
    schema = project.config / "schemas/device.schema.json"
    device = _named(project.devices, name, schema, where, "device")
    if ".." in Path(device["work_folder"]).parts:
        raise UserError(
            f"{project.devices / name}.yaml: key 'work_folder': expected a path without '..'; "
            f"found '{device['work_folder']}'"
        )
    known = [library.name for library in all_libraries().values() if library.native_sources]
    for library in device.get("native", ()):
        if library not in known:
            raise UserError(
                f"{project.devices / name}.yaml: key 'native': '{library}' has no native runner"
                f"{documents.suggestion(library, known)}; there are: {', '.join(known)}"
            )
    return device


def _with_labels(project: Project, listed: list[str], where: str) -> list[str]:
    """Names, with `label:x` replaced by those of all devices that carry the label x."""
    names: list[str] = []
    for one in listed:
        label = one.removeprefix(_LABEL)
        if label == one:
            names.append(one)
            continue
        known = sorted(path.stem for path in project.devices.glob("*.yaml"))
        labels = {name: read_device(project, name, where).get("labels", []) for name in known}
        found = [name for name in known if label in labels[name]]
        if not found:
            there = sorted({label for own in labels.values() for label in own})
            hint = documents.suggestion(label, there)
            raise UserError(
                f"{where}: no device carries the label '{label}'{hint}; there are: "
                f"{', '.join(there) or 'none'}"
            )
        names += found
    return list(dict.fromkeys(names))


def read_protocol(project: Project, name: str, where: str) -> dict[str, Any]:
    path = _existing(project.config / "protocols", name, where, "protocol")
    protocol = documents.read(path, project.config / "schemas/protocol.schema.json")
    for part in ("launches", "samples"):
        if protocol[part]["max"] < protocol[part]["min"]:
            raise UserError(f"{path}: key '{part}': max is smaller than min")
    samples, pattern = protocol["samples"], protocol["pattern"]
    if samples.get("longest_s", samples["seconds"]) < samples["seconds"]:
        raise UserError(f"{path}: key 'samples': longest_s is smaller than seconds")
    longest_s = samples.get("longest_s", samples["seconds"])
    least_s = max(longest_s, samples["min"] * pattern.get("interval_ms", 0) / 1e3)
    if least_s >= protocol["launch_timeout_s"]:
        raise UserError(
            f"{path}: key 'samples': they take {least_s:g} s at least, and a launch is killed after "
            f"launch_timeout_s: {protocol['launch_timeout_s']:g}"
        )
    if samples["seconds"] < _LEAST_WINDOWS * pattern.get("window_s", 0):
        raise UserError(
            f"{path}: key 'pattern.window_s': samples.seconds must hold {_LEAST_WINDOWS} windows"
        )
    return protocol


def _named(folder: Path, name: str, schema: Path, where: str, kind: str) -> dict[str, Any]:
    path = _existing(folder, name, where, kind)
    document = documents.read(path, schema)
    if document["name"] != name:
        raise UserError(
            f"{path}: key 'name': expected '{name}', as the file is called; "
            f"found '{document['name']}'"
        )
    return document


def _existing(folder: Path, name: str, where: str, kind: str) -> Path:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UserError(
            f"{where}: unknown {kind} '{name}'{documents.suggestion(name, known)}: "
            f"there is no {folder.name}/{name}.yaml; there are: {', '.join(known) or 'none'}"
        )
    return path


def _wanted(listed: list[str], entries: list[Mapping[str, Any]], axis: str) -> list[str]:
    """The names under an axis, those of include and exclude entries too, each once."""
    names = list(listed)
    for entry in entries:
        value = entry.get(axis, [])
        names += value if isinstance(value, list) else [value]
    return list(dict.fromkeys(names))


def _listed(name: str, value: Any) -> Any:
    """`--config models=squeezenet1_1` and `models=a,b` mean lists, and a list's numbers come as
    text from the command line."""
    if name not in _LISTS:
        return value
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]").split(",") if part.strip()]
    values = value if isinstance(value, list) else [value]
    if name == "threads":
        return [_whole(one) for one in values]
    return values


def _whole(value: Any) -> Any:
    """`2` for "2" (as the command line gives it) and for 2.0; anything else as it is."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
