"""What a step leaves beside its files: the record that says how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from .errors import TransientHostError
from .files import write_atomically

RECORD = "record.json"
FILES = "files"
#: How the reasons begin that an earlier step gave.
_STEPS = ("model: ", "passes: ", "export: ")


class StoredFile(Struct, frozen=True):
    """A file below a step's folder of files."""

    name: str
    bytes: int
    sha256: str


class Record(Struct, frozen=True, omit_defaults=True):
    """How a step ended.

    Args:
        log: the end of what was printed, where it did not end well.
        content: the digest of the files.
    """

    status: Literal["ok", "unsupported", "failed", "timeout"]
    reason: str | None
    log: str = ""
    seconds: float | None = None
    peak_rss_mb: float | None = None
    files: tuple[StoredFile, ...] = ()
    bytes: int | None = None
    content: str | None = None
    url: str | None = None


def read_record(folder: Path, name: str = RECORD) -> Record | None:
    """The record of a step's folder; None where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def write_record(folder: Path, record: Record, name: str = RECORD) -> Record:
    """Write a record, which comes last: a folder without one is an unfinished step.

    Raises:
        TransientHostError: the disk is full, or the folder cannot be written.
    """
    text = json.dumps(msgspec.to_builtins(record), indent=1) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, text)
    except OSError as error:
        raise TransientHostError(f"{folder} cannot be written: {error.strerror}") from error
    return record


def failure(folder: Path, what: str) -> Record | None:
    """Why a step has nothing to give, as the record of whoever needs it; None if it ended well."""
    record = read_record(folder)
    if record is None:
        return Record("failed", f"{what}: not there")
    if record.status == "ok":
        return None
    reason = record.reason or record.status
    if not reason.startswith(_STEPS):  # one that only hands on what an earlier step says
        reason = f"{what}: {reason}"
    return Record(record.status, reason, record.log)
