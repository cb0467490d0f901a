"""The libraries: every folder here with a library.yaml is one, and nothing else names it.

A folder holds
    library.yaml  what the library can do, its default version, its two environments
    convert.py    convert(source, out, variant, model): makes the artifact, in the convert environment
    backend.py    import_library() and Session: runs it; shipped to the device inside the runner
    profiler.py   profile(): the time of each operator; shipped beside it
    operators.yaml  its names of operators in the common vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .. import documents
from ..core.cells import NAME
from ..errors import UserError

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
    def source(self) -> str:
        """The format that its converter reads."""
        return str(self.document["source"])

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
    def converter(self) -> Path:
        return self.folder / "convert.py"

    @property
    def shipped(self) -> list[Path]:
        """The modules that go to the device with the runner: all but the converter."""
        return sorted(path for path in self.folder.glob("*.py") if path != self.converter)

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
