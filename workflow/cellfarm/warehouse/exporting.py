"""The warehouse as files: Parquet, a data dictionary, a citation."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from ..base.digests import file_digest
from ..base.documents import load_yaml
from ..base.errors import UserError
from ..measures import all_columns
from .querying import connect

DICTIONARY = Path(__file__).with_name("dictionary.yaml")
VIEWS = ("cells", "history", "samples", "launches", "cold_starts", "operators", "conditions",
         "ratios", "devices", "models")  # fmt: skip
TEXTS = ("dictionary.json", "DICTIONARY.md", "CITATION.txt")
#: Prefix of the folder in which an export is written; an export that is killed leaves it behind.
_SCRATCH = ".export-"


def export(warehouse: Path, folder: Path, version: str) -> list[Path]:
    """Do what `write_views` does, in a user's folder, which may hold nothing else.

    Raises:
        UserError: there is no warehouse, or the folder cannot be written or holds anything else.
    """
    exported = {*(f"{view}.parquet" for view in VIEWS), *TEXTS}
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error
    for name in names:
        if name not in exported and not name.startswith(_SCRATCH):
            raise UserError(
                f"{folder} holds something else ('{name}'): name a folder for the export alone"
            )
    return write_views(warehouse, folder, version)


def write_views(warehouse: Path, folder: Path, version: str) -> list[Path]:
    """Write every view as Parquet, with `dictionary.json`, `DICTIONARY.md` and `CITATION.txt`.

    An earlier export is replaced once all files are written.

    Raises:
        UserError: there is no warehouse, or the folder cannot be written.
    """
    try:
        with connect(warehouse) as connection:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
                written = _write(connection, Path(scratch), version)
                return [path.replace(folder / path.name) for path in written]
    except (OSError, duckdb.Error) as error:
        raise UserError(f"{folder} cannot be written: {error}") from error


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, version: str) -> list[Path]:
    written = [_write_view(connection, view, folder) for view in VIEWS]
    described = dictionary(connection)
    digests = {path.name: file_digest(path) for path in written}
    texts = (
        json.dumps(described, indent=1, ensure_ascii=False) + "\n",
        as_markdown(described),
        citation(connection, version, digests),
    )
    for name, text in zip(TEXTS, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def _write_view(connection: duckdb.DuckDBPyConnection, view: str, folder: Path) -> Path:
    path = folder / f"{view}.parquet"
    connection.sql(f"FROM {view}").write_parquet(str(path))
    return path


def dictionary(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """view -> {"about", "columns": [{"name", "type", "unit", "means"}]}; every column is described."""
    texts = load_yaml(DICTIONARY)
    texts["cells"]["columns"] |= {
        name: {"unit": column.unit, "means": column.means} for name, column in all_columns().items()
    }
    described = {}
    for view in VIEWS:
        columns = connection.execute(f"DESCRIBE {view}").fetchall()
        # The view history has the columns of the view cells, too.
        inherited = texts["cells"]["columns"] if view == "history" else {}
        entries = {**texts["common"], **inherited, **texts[view].get("columns", {})}
        described[view] = {
            "about": texts[view]["about"],
            "columns": [
                {"name": name, "type": kind, "unit": entries[name].get("unit"),
                 "means": entries[name]["means"]}
                for name, kind, *_ in columns
            ],
        }  # fmt: skip
    return described


def as_markdown(described: dict[str, Any]) -> str:
    lines = ["# What the columns mean", "", "Unknown is NULL in every column."]
    for view, entry in described.items():
        lines += ["", f"## {view}", "", f"{entry['about']}; `{view}.parquet`", ""]
        lines += ["| column | type | unit | means |", "|---|---|---|---|"]
        lines += [
            f"| `{column['name']}` | {column['type']} | {column['unit'] or ''} | {column['means']} |"
            for column in entry["columns"]
        ]
    return "\n".join(lines) + "\n"


def citation(connection: duckdb.DuckDBPyConnection, version: str, digests: dict[str, str]) -> str:
    """What a paper must name: versions, devices, protocols, dates, and digests of the data."""
    return "\n".join(_citation(connection, version, digests)) + "\n"


def _citation(
    connection: duckdb.DuckDBPyConnection, version: str, digests: dict[str, str]
) -> Iterator[str]:
    count, first, last = connection.execute(
        "SELECT count(*), strftime(min(measured_at), '%Y-%m-%d'), strftime(max(measured_at), '%Y-%m-%d') "
        "FROM cells"
    ).fetchall()[0]
    yield f"Measured with cellfarm {version}."
    dates = "" if first is None else f", {first} to {last}"
    yield f"{count} cells{dates}."
    for title, sql in (
        ("Libraries", "SELECT DISTINCT library || ' ' || library_version FROM cells ORDER BY 1"),
        ("Models", "SELECT DISTINCT model FROM cells ORDER BY 1"),
        ("Protocols", "SELECT DISTINCT protocol FROM cells ORDER BY 1"),
    ):
        names = [str(row[0]) for row in connection.execute(sql).fetchall()]
        yield f"{title}: {', '.join(names) or 'none'}."
    for device, text in connection.execute("FROM devices ORDER BY device").fetchall():
        facts = json.loads(text)
        parts = [facts.get(name) for name in ("model", "soc", "cpu", "os", "kernel")]
        yield f"Device {device}: {', '.join(str(part) for part in parts if part) or 'nothing known'}."
    for name, digest in sorted(digests.items()):
        yield f"SHA-256 of {name}: {digest}"
