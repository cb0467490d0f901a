"""The code that a path through the program really imports: found without running it.

A key must change when a module changes that the path imports, and not when another one does. So a
path names its entry modules, and `closure` follows their imports, those inside functions too, as far as
they lead to files below the given roots. A module that is picked by a name must be an entry of its own.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

from .digests import digest
from .errors import InternalMismatch
from .project import PACKAGE


def closure(
    entries: Sequence[Path], roots: Sequence[Path], without: Sequence[Path] = ()
) -> dict[str, Path]:
    """The entries and all that they import, by the name that each has below its root.

    Args:
        entries: modules; or any other files, which count by their content alone.
        roots: folders that are on the path of the process, the first first.
        without: modules whose imports are not followed, and which do not count.
    """
    # Paths as strings: a start follows some thousand imports, and Path's own methods take longer.
    seen = {str(path) for path in without}
    folders = tuple(f"{root}/" for root in roots)
    files: dict[str, Path] = {}
    waiting = [str(path) for path in entries]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        folder = next(folder for folder in folders if path.startswith(folder))
        name = path.removeprefix(folder)
        files[name] = Path(path)
        if name.endswith(".py"):
            for module in _imported(path, tuple(name.split("/")[:-1])):
                waiting += _resolve(module, folders)
    return dict(sorted(files.items()))


class Code:
    """The content of source files, by name: what is digested is what is shipped and run."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(sorted(files.items()))

    @property
    def digest(self) -> str:
        """Of names and contents; dates and places do not count."""
        return digest(
            [[name, hashlib.sha256(data).hexdigest()] for name, data in self.files.items()]
        )

    def write(self, folder: Path) -> Path:
        """The files in `folder`/<digest>, written whole or not at all unless they are there."""
        target = folder / self.digest
        if target.is_dir():
            return target
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=folder))
        for name, data in self.files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        scratch.chmod(0o755)
        try:
            scratch.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(scratch, ignore_errors=True)
            if not target.is_dir():
                raise
        return target


class PlannedCode(Struct, frozen=True):
    """A closure as it stood when the plan was made; paths are relative to the package.

    Args:
        entries, roots: as for `closure`.
    """

    entries: tuple[str, ...]
    roots: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, entries: Sequence[str], roots: Sequence[str]) -> PlannedCode:
        """The closure of entries, as it stood when this process first asked."""
        return cls(tuple(entries), tuple(roots), _closure_digest(tuple(entries), tuple(roots)))

    def read(self) -> Code:
        """The code, if it is still what was planned.

        Raises:
            InternalMismatch: a module changed since the plan was made: a result must never stand under
                the key of other code.
        """
        try:
            files = _files(self.entries, self.roots)
            code = Code({name: path.read_bytes() for name, path in files.items()})
        except FileNotFoundError:
            code = None
        if code is None or code.digest != self.digest:
            raise InternalMismatch(
                f"the code of {', '.join(self.entries)} changed since this run was planned: "
                "start it again"
            )
        return code


def place_of(path: Path) -> str:
    """A path as PlannedCode has it: relative to the package where it is in it."""
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else str(path)


def _files(entries: tuple[str, ...], roots: tuple[str, ...]) -> dict[str, Path]:
    return closure([PACKAGE / name for name in entries], [PACKAGE / name for name in roots])


@cache
def _closure_digest(entries: tuple[str, ...], roots: tuple[str, ...]) -> str:
    files = _files(entries, roots)
    return digest([[name, sha256_of(path)] for name, path in files.items()])


@cache
def sha256_of(path: Path) -> str:
    """The SHA-256 of a source file, as it stood when this process first asked."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


#: Conditions of what is for type checkers, and never run.
_NEVER = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@cache
def _imported(path: str, package: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The modules that a file imports, as parts of their names below a root; what `from x import y`
    names may be a module or not."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError):
        return ()  # the process that imports it says what is wrong
    return tuple(_modules(tree, package))


#: Where statements hold statements. Expressions, which are most of a tree, import nothing.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _modules(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield tuple(alias.name.split("."))
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        module = (*base, *(node.module.split(".") if node.module else ()))
        for alias in node.names:
            yield (*module, alias.name)
    elif isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER:
        for statement in node.orelse:
            yield from _modules(statement, package)
    else:
        for block in _BLOCKS:
            for statement in getattr(node, block, ()):
                yield from _modules(statement, package)


@cache
def _resolve(module: tuple[str, ...], folders: tuple[str, ...]) -> tuple[str, ...]:
    """The files that importing a module runs: its own and those of the packages around it."""
    for folder in folders:
        files = []
        for part in module:
            names = _names(folder)
            if part in names and "__init__.py" in _names(f"{folder}{part}/"):
                files.append(f"{folder}{part}/__init__.py")
            elif f"{part}.py" in names:
                files.append(f"{folder}{part}.py")
            elif part not in names:
                break
            folder = f"{folder}{part}/"
        if files:
            return tuple(files)
    return ()


@cache
def _names(folder: str) -> frozenset[str]:
    """What a folder holds; nothing, if it is none."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError:
        return frozenset()
