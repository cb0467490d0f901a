"""Workers: run a step's code in its environment, which fills the step's folder.

A step never fails because a converter does: its record has the status and the reason, and the cells that
need it say so. Its folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from ..base.code import PlannedCode
from ..base.digests import digest, file_digest, known_file_digest
from ..base.errors import TransientHostError
from ..base.processes import die_with_parent
from ..base.project import Project
from ..base.records import FILES, RECORD, Record, StoredFile, failure, read_record, write_record
from ..envs.environments import Environment, clean_variables

STEP_TIMEOUT_S = 3600
LOG_TAIL = 8000


def fill(
    project: Project,
    folder: Path,
    environment: Environment,
    code: PlannedCode,
    request: Mapping[str, Any],
    upstream: Iterable[tuple[Path, str]] = (),
    variables: Mapping[str, str] | None = None,
) -> Record:
    """Run a worker into a temporary folder, then rename that into place with its record.

    Args:
        code: its first entry is run with the file of the request.
        request: the worker's request without `out`, the folder that it fills.
        upstream: the folders of the steps before, each with its name in messages.
        variables: environment variables for the worker.

    Raises:
        InternalMismatch: the code changed since the run was planned.
        TransientHostError: files of a step before are gone or changed, or there is no space.
    """
    folders = dict(upstream)
    for before, what in folders.items():
        refusal = failure(before, what)
        if refusal:
            return write_record(folder, refusal)
    for before in folders:
        check_files(before)
    state = environment.state()
    if state is None:
        reason = f"environment {environment.name} is not built"
        return write_record(folder, Record("failed", reason))
    if state.status != "ok":
        return write_record(folder, Record("failed", state.reason, state.log))
    worker = code.read().write(project.results / "code") / Path(code.entries[0]).name
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    out = temporary / FILES
    out.mkdir(parents=True)
    try:
        file = temporary / "request.json"
        file.write_text(json.dumps(dict(request) | {"out": str(out)}), encoding="utf-8")
        record = _work(environment, [str(worker), str(file)], variables or {}, temporary)
        file.unlink()
        return _commit(folder, record, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_files(folder: Path) -> None:
    """Raise if the files of a step that succeeded are not what its record says.

    Then the record is removed, so that the next run does the step again.

    Raises:
        TransientHostError: files are missing or changed.
    """
    record = read_record(folder)
    for entry in record.files if record else ():
        path = folder / FILES / entry.name
        if not is_whole(path, entry.sha256):
            (folder / RECORD).unlink(missing_ok=True)
            raise TransientHostError(
                f"{path} is missing or changed; it is made again when you start again"
            )


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there and has this digest."""
    try:
        return known_file_digest(path) == sha256
    except OSError:
        return False


def _work(
    environment: Environment, arguments: list[str], variables: Mapping[str, str], scratch: Path
) -> Record:
    argv = [str(environment.python), "-s", "-E", *arguments]
    started = time.monotonic()
    log = scratch / "log"
    # Tools that write to the working folder or to HOME stay inside the scratch folder.
    settings = clean_variables(dict(variables)) | {"TMPDIR": str(scratch), "HOME": str(scratch)}
    with log.open("wb") as stderr:
        try:
            process = subprocess.run(
                argv,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                timeout=STEP_TIMEOUT_S,
                env=settings,
                check=False,
                preexec_fn=die_with_parent,
            )
            record = _answer(process.stdout) or Record("failed", _death(process.returncode))
        except subprocess.TimeoutExpired:
            record = Record("timeout", f"no end within {STEP_TIMEOUT_S} s")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return structs.replace(
        record,
        seconds=round(time.monotonic() - started, 2),
        peak_rss_mb=round(peak_mb, 1),
        log="" if record.status == "ok" else log.read_bytes()[-LOG_TAIL:].decode(errors="replace"),
    )


def _answer(output: bytes) -> Record | None:
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        return Record(answer["status"], answer["reason"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _death(code: int) -> str:
    if code < 0:
        return f"the converter was killed by signal {-code}"
    return f"the converter ended with code {code} and no answer"


def _commit(folder: Path, record: Record, out: Path) -> Record:
    """Move the files of a step that succeeded into place, then write its record."""
    if record.status != "ok":
        return write_record(folder, record)
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    if not paths:
        return write_record(folder, Record("failed", "the converter wrote no file"))
    files = tuple(
        StoredFile(path.relative_to(out).as_posix(), path.stat().st_size, file_digest(path))
        for path in paths
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / FILES, ignore_errors=True)
        os.replace(out, folder / FILES)
    except OSError as error:
        raise TransientHostError(f"{folder} cannot be written: {error.strerror}") from error
    return write_record(
        folder,
        structs.replace(
            record,
            files=files,
            bytes=sum(file.bytes for file in files),
            content=digest([[file.name, file.sha256] for file in files]),
        ),
    )
