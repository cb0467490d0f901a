"""Build a model, export it, convert it: each job fills one content-addressed folder.

A job never fails because a converter does: it writes record.json with the status and the reason,
and the cells that need it say so. Its folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base.digests import digest, file_digest
from ..base.errors import TransientHostError
from ..base.files import read_object, write_atomically
from ..base.processes import die_with_parent
from ..base.project import PACKAGE
from ..envs.environments import Environment, clean_variables
from ..libraries import Library
from .routes import FILES as FORMAT_FILES
from .routes import format_of_file, no_route

RECORD = "record.json"
FILES = "files"
JOB_TIMEOUT_S = 3600
LOG_TAIL = 8000
_MODELS_WORKER = PACKAGE / "models" / "worker.py"


def build_model(
    environment: Environment,
    recipe: Mapping[str, Any],
    folder: Path,
    files: Mapping[str, Path] | None = None,
    download: Path | None = None,
) -> dict[str, Any]:
    """Run the models' worker: the model's file, model.json, and the .npz of its inputs and
    reference outputs in folder/files.

    Args:
        files: what the recipe takes from files: `file`, the user's own model, and `weights`.
        download: the folder with the record of how the weights were fetched.

    Raises:
        TransientHostError: a file is gone.
    """
    upstream = failure(download, "weights") if download else None
    if upstream:
        return _commit(folder, upstream)
    for path in (files or {}).values():
        if not path.is_file():
            if download:
                (download / RECORD).unlink(missing_ok=True)
            raise TransientHostError(f"{path} is gone; start again")
    request = {
        "module": "build_file" if recipe["source"] == "file" else "build_architecture",
        "recipe": dict(recipe),
        "files": {what: str(path.absolute()) for what, path in (files or {}).items()},
    }
    return _fill(folder, environment, [str(_MODELS_WORKER)], request, {})


def describe(environment: Environment, file: Path, folder: Path) -> dict[str, Any]:
    """What a user's own file takes and gives: folder/files/description.json (see
    cellfarm.models.describe_file)."""
    request = {"module": "describe_file", "file": str(file.absolute())}
    return _fill(folder, environment, [str(_MODELS_WORKER)], request, {})


def describe_graph(
    environment: Environment, worker: Path, file: Path, folder: Path
) -> dict[str, Any]:
    """What the graph in an ONNX file is made of: folder/files/graph.json (see
    cellfarm.selection.graph_worker)."""
    return _fill(folder, environment, [str(worker)], {"file": str(file.absolute())}, {})


def export(
    environment: Environment,
    model: Path,
    form: str,
    folder: Path,
    source: Path | None = None,
    source_format: str = "pt2",
) -> dict[str, Any]:
    """Export a model to a format.

    Args:
        model: the filled folder of the model.
        source: the filled folder that holds what is exported: of an earlier export; by default
            the model's.
        source_format: the format of what is exported.
    """
    source = source or model
    for upstream, what in ((model, "model"), (source, "export")):
        found = failure(upstream, what)
        if found:
            return _commit(folder, found)
    for filled in {model, source}:
        check_files(filled)
    request = {
        "module": f"export_{source_format}_to_{form}",
        "model": str(model / FILES),
        "source": str(source / FILES / FORMAT_FILES[source_format]),
    }
    return _fill(folder, environment, [str(_MODELS_WORKER)], request, {})


def convert(
    environment: Environment,
    library: Library,
    variant: str,
    model: Path,
    source: Path,
    source_file: str,
    folder: Path,
    tools: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make an artifact.

    Args:
        model: the filled folder of the model; source: that of the export it reads, or the same.
        source_file: the file of `source` that is read, such as model.onnx.
        tools: the vendor's own, by path (see cellfarm.wanted.tools); convert.py has them in model["tools"].

    A user's file that is quantised already, or in half precision, is what it is: it is converted
    without a further change where that is the variant that is asked for.
    """
    for upstream, what in ((model, "model"), (source, "export")):
        found = failure(upstream, what)
        if found:
            return _commit(folder, found)
    for filled in {model, source}:
        check_files(filled)
    description = json.loads((model / FILES / "model.json").read_text(encoding="utf-8"))
    precision = description.get("precision", "fp32")
    if precision not in ("fp32", variant):
        reason = f"the model's file is {precision} already: {variant} cannot be made of it"
        return _commit(folder, {"status": "unsupported", "reason": reason, "log": ""})
    request = {
        "converter": str(library.converter),
        "source": str(source / FILES / source_file),
        "variant": variant if precision == "fp32" else "fp32",
        "model": description
        | {
            "source_format": format_of_file(source_file),
            "sample_inputs": str(model / FILES / "inputs.npz"),
            "reference": str(model / FILES / "reference.npz"),
            "calibration": str(model / FILES / "calibration.npz"),
            "tools": dict(tools or {}),
        },
    }
    worker = PACKAGE / "conversion" / "worker.py"
    return _fill(folder, environment, [str(worker)], request, library.variables)


def refuse(library: Library, native: str, folder: Path) -> dict[str, Any]:
    """Record that no route leads from the format that a model is in to one that a library reads."""
    reason = no_route(library.title, native, library.sources)
    return _commit(folder, {"status": "unsupported", "reason": reason, "log": ""})


#: How the reasons begin that an earlier step gave.
_STEPS = ("model: ", "export: ")


def failure(folder: Path, what: str) -> dict[str, Any] | None:
    """Why the job of a folder has nothing to give, as the record of whoever needs it; None if ok."""
    record = read_record(folder)
    if record is None:
        return {"status": "failed", "reason": f"{what}: not there", "log": ""}
    if record["status"] == "ok":
        return None
    reason = record["reason"]
    if not reason.startswith(_STEPS):  # one that only hands on what an earlier step says
        reason = f"{what}: {reason}"
    return {
        "status": record["status"],
        "reason": reason,
        "log": record.get("log", ""),
    }


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a filled folder."""
    return read_object(folder / RECORD)


def check_files(folder: Path) -> None:
    """Raise if the files of a job that succeeded are not what its record says.

    The record is removed then, so that the next run does the job again.

    Raises:
        TransientHostError: files are missing or changed.
    """
    record = read_record(folder)
    for entry in (record or {}).get("files", []):
        path = folder / FILES / entry["name"]
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            (folder / RECORD).unlink(missing_ok=True)
            raise TransientHostError(
                f"{path} is missing or changed; it is made again when you start again"
            )


def _fill(
    folder: Path,
    environment: Environment,
    arguments: list[str],
    request: dict[str, Any],
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Run a worker into a temporary folder, then rename it into place with its record."""
    state = environment.state()
    if state is None or state["status"] != "ok":
        reason = state["reason"] if state else f"environment {environment.name} is not built"
        return _commit(
            folder, {"status": "failed", "reason": reason, "log": (state or {}).get("log", "")}
        )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    out = temporary / FILES
    out.mkdir(parents=True)
    try:
        request_file = temporary / "request.json"
        request_file.write_text(json.dumps(request | {"out": str(out)}), encoding="utf-8")
        record = _work(environment, [*arguments, str(request_file)], variables, temporary)
        request_file.unlink()
        return _commit(folder, record, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _work(
    environment: Environment, arguments: list[str], variables: Mapping[str, str], scratch: Path
) -> dict[str, Any]:
    argv = [str(environment.python), "-s", "-E", *arguments]
    started = time.monotonic()
    log = scratch / "log"
    # Tools that write where they stand (and libraries that fill HOME) stay inside the scratch folder.
    settings = clean_variables(dict(variables)) | {"TMPDIR": str(scratch), "HOME": str(scratch)}
    with log.open("wb") as stderr:
        try:
            done = subprocess.run(
                argv,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                timeout=JOB_TIMEOUT_S,
                env=settings,
                check=False,
                preexec_fn=die_with_parent,
            )
            code: int | None = done.returncode
            answer = _answer(done.stdout)
        except subprocess.TimeoutExpired:
            code, answer = None, {"status": "timeout", "reason": f"no end within {JOB_TIMEOUT_S} s"}
    record = answer or {"status": "failed", "reason": _death(code)}
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record |= {"seconds": round(time.monotonic() - started, 2), "peak_rss_mb": round(peak_mb, 1)}
    if record["status"] != "ok":
        record["log"] = log.read_bytes()[-LOG_TAIL:].decode(errors="replace")
    return record


def _answer(output: bytes) -> dict[str, Any] | None:
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        return {"status": answer["status"], "reason": answer["reason"]}
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the converter was killed by signal {-code}"
    return f"the converter ended with code {code} and no answer"


def _commit(folder: Path, record: dict[str, Any], out: Path | None = None) -> dict[str, Any]:
    """Write the record and, when the job succeeded, move its files into place first."""
    if record["status"] == "ok" and out is not None:
        files = sorted(path for path in out.rglob("*") if path.is_file())
        if not files:
            record = record | {"status": "failed", "reason": "the converter wrote no file"}
        record["files"] = [
            {
                "name": path.relative_to(out).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": file_digest(path),
            }
            for path in files
        ]
        record["bytes"] = sum(entry["bytes"] for entry in record["files"])
        record["content"] = digest([[e["name"], e["sha256"]] for e in record["files"]])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if record["status"] == "ok" and out is not None:
            shutil.rmtree(folder / FILES, ignore_errors=True)
            os.replace(out, folder / FILES)
        # The record comes last: a folder without one is an unfinished job.
        write_atomically(folder / RECORD, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise TransientHostError(f"{folder} cannot be written: {error.strerror}") from error
    return record
