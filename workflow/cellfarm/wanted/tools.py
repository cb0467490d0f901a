"""The tools of vendors that users give by path: on this machine in the config, on a device in its file.

A config's `tools: {mace: {source: ..., run: ...}}` are of this machine, for one library. A device's
`tools: {qnn-net-run: ...}` are paths there. What a tool is counts into the keys: the content of a file
or folder of this machine, the text of anything else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ..base.digests import digest, file_digest
from ..base.documents import suggestion
from ..base.errors import UserError
from ..libraries import Library, all_libraries
from .devices import Device

MISSING = "give the paths under `tools:`; see docs/vendor-tools.md"
#: Of a folder these count: what a converter runs. Files that a build leaves there do not.
_COUNTED, _GENERATED = "*.py", "_pb2.py"


def check(tools: Mapping[str, Mapping[str, str]], where: str) -> None:
    """Raise unless the config's tools are what libraries know, and paths that lead to it.

    Raises:
        UserError: an unknown library or tool, a path that leads nowhere, a program that is none.
    """
    for library, settings in tools.items():
        if library not in all_libraries():
            raise UserError(f"{where}: key 'tools': there is no library '{library}'")
        declared = all_libraries()[library].tools
        known = list(declared.names)
        for name, value in settings.items():
            key = f"{where}: key 'tools.{library}.{name}'"
            if name not in known:
                what = f"{library} knows {', '.join(known) or 'no tools'}"
                raise UserError(f"{key}: unknown{suggestion(name, known)}; {what}")
            path = Path(value).expanduser()
            if os.sep in value and not path.exists():
                raise UserError(f"{key}: {value} does not exist")
            if name in declared.run and not _is_program(path):
                raise UserError(f"{key}: {value} is no file that can be executed")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def of_library(tools: Mapping[str, Mapping[str, str]], library: str) -> dict[str, str]:
    """The config's tools of a library; paths are absolute."""
    return {
        name: _absolute(value) if os.sep in value else value
        for name, value in tools.get(library, {}).items()
    }


def missing(
    library: Library, on_host: Mapping[str, str], on_device: Mapping[str, str]
) -> str | None:
    """Why a library cannot do without tools that are not given, or None.

    Args:
        on_host: as `of_library` returns them; on_device: those of the device's file.
    """
    needed = library.tools
    absent = [name for name in needed.convert if name not in on_host]
    if needed.run and not library.has_backend:  # it looks at the disk, and every cell asks
        absent += [
            name
            for name in needed.run
            if name not in on_host and f"{library.name}_{name}" not in on_device
        ]
    if not absent:
        return None
    return f"{library.title} needs {' and '.join(absent)}: {MISSING}"


def counted(library: Library, on_host: Mapping[str, str], purpose: str) -> list[str]:
    """What of a library's tools counts into the keys of its artifacts (`convert`) or of its results
    (`run`): nothing where none are given. A list, to be added to others."""
    other = "run" if purpose == "convert" else "convert"
    elsewhere: tuple[str, ...] = getattr(library.tools, other)
    own = {name: value for name, value in on_host.items() if name not in elsewhere}
    return [identify(own)] if own else []


def identify(tools: Mapping[str, str]) -> str:
    """The digest of tools: of the content of what is a file or a folder here, else of the text.

    Of a folder its Python sources count, but those that a build generates.
    """
    return digest([[name, _identify(value)] for name, value in sorted(tools.items())])


def counted_of_device(device: Device) -> list[str]:
    """What of a device's tools counts beside their paths, which stand in its description: the
    content, if the device is this machine."""
    return [identify(device.tools)] if device.tools and device.is_local else []


def _absolute(value: str) -> str:
    return str(Path(value).expanduser().absolute())


def _identify(value: str) -> str:
    path = Path(value)
    if path.is_file():
        return _file(str(path), *_stamp(path))
    if path.is_dir():
        return digest([[name, _file(str(path / name), *_stamp(path / name))]
                       for name in _sources(path)])  # fmt: skip
    return value


def _sources(folder: Path) -> list[str]:
    sources: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "bazel-")))
        sources += [
            Path(parent, name).relative_to(folder).as_posix()
            for name in files
            if Path(name).match(_COUNTED) and not name.endswith(_GENERATED)
        ]
    return sorted(sources)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@cache
def _file(path: str, size: int, mtime_ns: int) -> str:
    return file_digest(Path(path))
