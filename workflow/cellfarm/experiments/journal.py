"""The journal of a cell: one line per ended launch, so that a killed experiment resumes."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Append-only JSON lines; a torn last line is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The launches so far, in order."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        launches = []
        for line in lines[:-1]:  # what follows the last newline is torn
            try:
                launches.append(json.loads(line))
            except ValueError:
                break
        return launches

    def append(self, launch: dict[str, Any]) -> None:
        """Add a launch and have it on the disk before returning.

        Raises:
            OSError: it could not be written; the journal is as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(launch, allow_nan=False).encode() + b"\n"
        # Unbuffered: closing the file would write a failed buffer again.
        with self.path.open("ab", buffering=0) as file:
            self._drop_torn_tail(file)
            start = file.tell()
            try:
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, start)
                raise

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _drop_torn_tail(self, file: Any) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            file.truncate(whole)
            file.seek(whole)
