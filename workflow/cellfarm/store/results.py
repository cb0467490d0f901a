"""The store: one JSON file per result, committed atomically, never altered afterwards.

Layout: results/cells/<device>/<library@version>/<model>/<variant>-<processor>-t<n>/<measure>-<key>.json
The first line of a file is its header (cell, key, causes, status ...), so that planning reads a
few hundred bytes of a record and not its raw samples; the whole file is one JSON object.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..base.cells import Cell
from ..base.digests import digest
from ..base.files import write_atomically

STATUSES = ("ok", "unsupported", "failed", "timeout", "wrong")
_HEADER_LIMIT_BYTES = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")


#: The key of a result, and when it was written, in ns; 0 if it is not there.
Stamp = tuple[str, int]


def stamps_digest(stamps: Iterable[Stamp]) -> str:
    """A digest of which results are stored, and since when."""
    return digest(sorted(stamps))


class Store:
    """The results below `root` (results/cells)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, cell: Cell, measure: str, key: str) -> Path:
        return self.root / cell.folder / f"{measure}-{key}.json"

    def stamps(self, cell: Cell, keys: Mapping[str, str]) -> dict[str, int]:
        """When the results of a cell were written, in ns, by measure; 0 where there is none.

        Args:
            keys: measure -> the key of its result.
        """
        # os.stat on a joined string: ten thousands of these run at every start.
        folder = f"{self.root}/{cell.folder}"
        return {
            measure: _written_ns(f"{folder}/{measure}-{key}.json") for measure, key in keys.items()
        }

    def changed_ns(self, folders: Iterable[str]) -> dict[str, int]:
        """When a result last came to the folder of a cell, or left it, in ns; 0 of one that is not there.

        Args:
            folders: those of cells (see Cell.folder).
        """
        return {folder: _written_ns(f"{self.root}/{folder}") for folder in folders}

    def has(self, cell: Cell, measure: str, key: str) -> bool:
        return self.path(cell, measure, key).is_file()

    def commit(
        self,
        cell: Cell,
        measure: str,
        key: str,
        header: Mapping[str, Any],
        body: Mapping[str, Any],
    ) -> Path:
        """Write a result so that it is there whole or not at all, even through a power cut.

        Raises:
            OSError: the disk is full, or the folder cannot be written; nothing is left behind.
        """
        path = self.path(cell, measure, key)
        write_atomically(path, render(header, body))
        return path

    def set_aside(self, path: Path) -> Path:
        """Make room for a retry: the old result stays in the history under another name."""
        for number in range(1, 10_000):
            aside = path.with_name(f"{path.stem}.superseded-{number}.json")
            if not aside.exists():
                path.rename(aside)
                return aside
        raise OSError(f"too many superseded results beside {path}")

    def header(self, cell: Cell, measure: str, key: str) -> dict[str, Any]:
        return read_header(self.path(cell, measure, key))

    def older(self, cell: Cell, measure: str) -> list[Path]:
        """The results of the same cell and measure under other keys, newest last."""
        folder = self.root / cell.folder
        own = (path for path in _json_files(folder) if path.name.startswith(f"{measure}-"))
        return sorted(own, key=lambda path: path.stat().st_mtime_ns)

    def other_versions(self, cell: Cell) -> bool:
        """Whether the same cell has a result with another version of the library."""
        setting = Path(cell.folder).name
        pattern = f"{cell.library}@*/{cell.model}/{setting}/*.json"
        device = self.root / cell.device
        own = device / cell.versioned_library
        return any(not path.is_relative_to(own) for path in device.glob(pattern))

    def files(self) -> Iterator[Path]:
        """Every result ever, those set aside too."""
        return (self.root / path for path in self.states())

    def states(self) -> dict[str, tuple[int, int]]:
        """The files' sizes in bytes and times of change in ns, by their paths below `root`."""
        # Strings and directory entries: with ten thousand results, paths and os.walk take seconds.
        states = {}
        folders = [""] if self.root.is_dir() else []
        while folders:
            folder = folders.pop()
            with os.scandir(f"{self.root}/{folder}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}{entry.name}/")
                    elif entry.name.endswith(".json") and entry.name[0] != ".":
                        status = entry.stat()
                        states[folder + entry.name] = (status.st_size, status.st_mtime_ns)
        return states


def render(header: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """One JSON object whose first line holds the header; the body is not empty."""
    first = json.dumps(header, ensure_ascii=False, allow_nan=False)
    rest = json.dumps(body, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair (a library's message with a strange file name) is no UTF-8.
    return _SURROGATE.sub("\ufffd", f"{first[:-1]},\n{rest[1:]}\n")


def read_header(path: Path) -> dict[str, Any]:
    """The header alone.

    Raises:
        ValueError: the file is not a result.
    """
    with path.open(encoding="utf-8") as file:
        line = file.readline(_HEADER_LIMIT_BYTES)
    header = json.loads(line.rstrip().removesuffix(",") + "}")
    if not isinstance(header, dict) or "key" not in header:
        raise ValueError(f"{path} is not a result")
    return header


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.suffix == ".json" and path.name[0] != "."]


def _written_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
