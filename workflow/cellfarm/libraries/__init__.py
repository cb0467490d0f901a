"""The libraries: every folder here with a library.yaml is one, and nothing else names it.

A folder holds
    library.yaml  what the library can do, its default version, its two environments
    convert.py    convert(source, out, variant, model): makes the artifact, in the convert environment
    conversion/   optional: modules that only convert.py imports
    backend.py    import_library() and Session: runs it; shipped to the device inside the runner
    profiler.py   profile(): the time of each operator; shipped beside it
    tool.py       optional: commands() and parse() of the vendor's own tool; stays on this machine
    native/       optional: modules that only tool.py imports; or, with a CMakeLists.txt, the sources of
                  a native runner, a program that takes the place of the runner and of backend.py
    operators.yaml  its names of operators in the common vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..base import documents
from ..base.cells import NAME
from ..base.errors import UserError

HERE = Path(__file__).resolve().parent
_SCHEMA = HERE.parents[2] / "config" / "schemas" / "library.schema.json"


@dataclass(frozen=True)
class Library:
    """One library at its default version; `document` is its parsed library.yaml."""

    folder: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def default_version(self) -> str:
        return str(self.document["default_version"])

    @property
    def sources(self) -> tuple[str, ...]:
        """The formats that its converter reads, best first (see cellfarm.conversion.routes)."""
        return tuple(self.document["sources"])

    @property
    def variants(self) -> list[str]:
        return list(self.document["variants"])

    @property
    def processors(self) -> list[str]:
        return list(self.document["processors"])

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for its converter and its launches."""
        return dict(self.document.get("variables", {}))

    @property
    def released(self) -> dict[str, str]:
        """Version -> the day of its release, ISO 8601, for those that are measured as a series."""
        return dict(self.document.get("released", {}))

    @property
    def converter(self) -> Path:
        return self.folder / "convert.py"

    @property
    def conversion_modules(self) -> list[Path]:
        """What convert.py imports as `from conversion.x import y`; it stays on this machine."""
        return sorted((self.folder / "conversion").rglob("*.py"))

    @property
    def has_backend(self) -> bool:
        """Whether the runner can run it; if not, only its native tool can."""
        return (self.folder / "backend.py").is_file()

    @property
    def tool(self) -> Path:
        """The module for the vendor's own tool, if there is one (see cellfarm.experiments.native)."""
        return self.folder / "tool.py"

    @property
    def tool_modules(self) -> list[Path]:
        """The tool's module and those that only it imports; they stay on this machine."""
        return [
            *([self.tool] if self.tool.is_file() else []),
            *sorted((self.folder / "native").rglob("*.py")),
        ]

    @property
    def native_sources(self) -> list[Path]:
        """The sources of its native runner; none if it has none (see cellfarm.envs.native_building)."""
        folder = self.folder / "native"
        return sorted(folder.glob("*")) if (folder / "CMakeLists.txt").is_file() else []

    @property
    def shipped(self) -> list[Path]:
        """The modules that go to the device with the runner: all but the converter and the tool."""
        kept = (self.converter, self.tool)
        return sorted(path for path in self.folder.glob("*.py") if path not in kept)

    @property
    def vocabulary(self) -> Path:
        return self.folder / "operators.yaml"


@cache
def all_libraries() -> dict[str, Library]:
    """Every library by name.

    Raises:
        UserError: a library.yaml that is not what its schema asks for.
    """
    found = {}
    for path in sorted(HERE.glob("*/library.yaml")):
        document = documents.read(path, _SCHEMA)
        if document["name"] != path.parent.name:
            raise UserError(
                f"{path}: key 'name': expected '{path.parent.name}', as the folder is called; "
                f"found '{document['name']}'"
            )
        found[path.parent.name] = Library(path.parent, document)
    return found


def released() -> dict[str, dict[str, str]]:
    """Library -> version -> the day of its release, as far as library.yaml says."""
    return {name: library.released for name, library in all_libraries().items()}


def resolve(reference: str) -> tuple[str, str]:
    """`ncnn` or `ncnn@1.0` -> (name, version).

    Raises:
        UserError: no such library.
    """
    name, at, version = reference.partition("@")
    libraries = all_libraries()
    if name not in libraries:
        raise UserError(
            f"unknown library '{name}'{documents.suggestion(name, list(libraries))}; "
            f"there are: {', '.join(libraries)} (folders in workflow/cellfarm/libraries/)"
        )
    if at and not NAME.match(version):
        raise UserError(f"'{reference}': '{version}' is no version")
    return name, version if at else libraries[name].default_version
