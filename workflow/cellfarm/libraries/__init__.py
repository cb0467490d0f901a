"""The libraries: every folder here with a library.yaml is one, and nothing else lists them.

A folder holds
    library.yaml  what the library can do, its default version, its two environments
    convert.py    convert(source, out, variant, model): makes the artifact, in the convert environment
    conversion/   optional: modules that only convert.py imports
    backend.py    import_library() and Session: runs it; shipped to the device inside the runner
    profiler.py   profile(): the time of each operator; shipped beside it
    tool.py       optional: commands() and parse() of the vendor's own tool; stays on this machine
    vendor/       optional: modules that only tool.py imports
    native/       optional: the sources of a native runner, a program that replaces the runner and backend.py
    operators.yaml  its names of operators in the common vocabulary
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, structs

from ..base import documents
from ..base.cells import NAME
from ..base.errors import UserError
from ..base.names import UNIQUE, FolderName, Format, Precision, Processor, Version

HERE = Path(__file__).resolve().parent


class Environments(Struct, frozen=True, forbid_unknown_fields=True):
    """Requirements of the environments that run a library and that convert models for it."""

    run: Annotated[tuple[str, ...], Meta(min_length=1)]
    convert: Annotated[tuple[str, ...], Meta(min_length=1)]


class Exclude(Struct, frozen=True, forbid_unknown_fields=True):
    """Packages that the library declares but does not need."""

    run: tuple[str, ...] = ()
    convert: tuple[str, ...] = ()


class Older(Struct, frozen=True, forbid_unknown_fields=True):
    """What versions below `below` need in place of packages of the environments."""

    below: Annotated[str, Meta(pattern="^[0-9]+([.][0-9]+)*$", description="a version, in quotes")]
    packages: Annotated[tuple[str, ...], Meta(min_length=1)]


class VendorTools(Struct, frozen=True, forbid_unknown_fields=True):
    """Names of a vendor's own tools, under `tools:` in a config or a device's file."""

    convert: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.convert, *self.run, *self.optional)


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """A library.yaml."""

    name: FolderName
    title: str
    default_version: Version
    package: Annotated[str, Meta(description="the distribution whose version is the library's")]
    sources: Annotated[
        tuple[Format, ...],
        Meta(
            min_length=1,
            extra_json_schema=UNIQUE,
            description="a list of the formats that convert.py reads, best first",
        ),
    ]
    precisions: Annotated[tuple[Precision, ...], Meta(min_length=1)]
    processors: Annotated[tuple[Processor, ...], Meta(min_length=1)]
    environments: Environments
    older: Annotated[
        tuple[Older, ...],
        Meta(
            description="versions below one, and the packages that they need in place of those of "
            "the environments"
        ),
    ] = ()
    exclude: Exclude = Exclude()
    tools: Annotated[
        VendorTools,
        Meta(
            description="names under `tools:` that a user must give, to convert and to run, and "
            "others that may be given"
        ),
    ] = VendorTools()
    released: Annotated[
        dict[str, Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]],
        Meta(description='versions, in quotes, with the day of their release: "2026-10-20"'),
    ] = {}
    variables: dict[str, str] = {}
    homepage: str | None = None


class Library(Description, frozen=True, kw_only=True):
    """A library.yaml with its folder: one library at its default version."""

    folder: Path

    @property
    def converter(self) -> Path:
        return self.folder / "convert.py"

    @property
    def has_backend(self) -> bool:
        """Whether the runner can run it; if not, only the vendor's own tool can."""
        return (self.folder / "backend.py").is_file()

    @property
    def tool(self) -> Path:
        """The module for the vendor's own tool, if there is one (see cellfarm.libraries.vendor_tool)."""
        return self.folder / "tool.py"

    @property
    def tool_modules(self) -> list[Path]:
        """tool.py and the modules that only it imports; they stay on this machine."""
        return [
            *([self.tool] if self.tool.is_file() else []),
            *sorted((self.folder / "vendor").rglob("*.py")),
        ]

    @property
    def native_sources(self) -> list[Path]:
        """The sources of its native runner, if any (see cellfarm.envs.native_building)."""
        folder = self.folder / "native"
        return sorted(folder.glob("*")) if (folder / "CMakeLists.txt").is_file() else []

    @property
    def vocabulary(self) -> Path:
        return self.folder / "operators.yaml"


@cache
def all_libraries() -> dict[str, Library]:
    """Every library by name.

    Raises:
        UserError: a library.yaml does not follow its schema.
    """
    libraries = {}
    for path in sorted(HERE.glob("*/library.yaml")):
        description = documents.read(path, Description)
        if description.name != path.parent.name:
            raise UserError(
                f"{path}: key 'name': expected '{path.parent.name}', as the folder is called; "
                f"found '{description.name}'"
            )
        libraries[description.name] = Library(folder=path.parent, **structs.asdict(description))
    return libraries


def released() -> dict[str, dict[str, str]]:
    """Library -> version -> the day of its release, where library.yaml gives it."""
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
