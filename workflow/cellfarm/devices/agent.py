"""The agent: transport `local` on a device, for a host at the other end of a connection.

Runs on the device as a zip application, one per experiment, until its standard input ends or is silent for
too long. Then it kills every process that it started, restores the device's settings and ends. So nothing
is left when a cable is pulled.

Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import queue
import select
import signal
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from ..base.digests import file_digest
from ..base.errors import PermanentDeviceError, TransientDeviceError
from ..base.processes import adopt_orphans, kill_descendants, kill_marked
from .framing import ALIVE, CALL, DATA, ERROR, HEAD_BYTES, OUTPUT, RESULT, frame, head
from .limits import refuse_full
from .local import LocalTransport, discard
from .transport import SPAWNED

#: Both ends send a sign of life this often; silence for `SILENCE_S` is a lost connection.
ALIVE_INTERVAL_S = 3.0
SILENCE_S = 20.0
#: Files arrive in this folder before they are checked and get their names.
ARRIVALS = "arrivals"
#: The folders of deployed files and folders.
_DEPLOYED = ("payloads", "artifacts", "inputs", "runtimes")
_STAMPS = ".verified"
#: Errors that no further attempt changes.
_PERMANENT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
#: Debian 12's Python 3.11.2 has no filters; the archive is the host's, checked by its SHA-256.
_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


class Agent:
    """Serves calls until its input ends.

    Args:
        work_folder: the device's.
        source: descriptor with frames from the host.
        sink: file for frames to the host.
    """

    def __init__(self, work_folder: Path, source: int, sink: BinaryIO) -> None:
        self._local = LocalTransport(work_folder)
        self._folder = work_folder
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        self._ending = threading.Lock()
        self._has_lock = False
        self._adopts_orphans = False
        self._frames: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
        self._calls: dict[str, Callable[..., Any]] = {
            "prepare": self._prepare,
            "take_control": self._local.take_control,
            "release_control": self._local.release_control,
            "present": self._present,
            "adopt": self._adopt,
            "run": self._run,
            "read": self._read,
            "remove": self._local.remove,
            "make_room": self._make_room,
        }

    def serve(self) -> None:
        """Serve until the input ends; does not return."""
        self._adopts_orphans = adopt_orphans()
        for work in (self._listen, self._send_alive):
            threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                kind, content = self._frames.get()
                if kind == CALL:
                    self._answer(json.loads(content))
        except BaseException:
            # A lost connection, noticed in writing before the input ends; or a fault, whose last
            # line the host reports.
            traceback.print_exc()
            self._end()

    def _answer(self, call: dict[str, Any]) -> None:
        try:
            result = self._calls[call["name"]](**call["arguments"])
        except (TransientDeviceError, PermanentDeviceError) as error:
            kind = "transient" if isinstance(error, TransientDeviceError) else "permanent"
            self._send(ERROR, {"type": kind, "message": str(error)})
        except OSError as error:
            message = f"{error.strerror or error} ({error.filename})"
            kind = "permanent" if error.errno in _PERMANENT else "transient"
            self._send(ERROR, {"type": kind, "message": message})
        else:
            self._send(RESULT, result)

    # The calls.

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._end_all()  # processes of an earlier agent that was killed; this one runs none yet
        self._local.prepare()
        self._local.remove(ARRIVALS)  # of interrupted pushes
        (self._folder / ARRIVALS).mkdir()
        for path in (self._folder / "agents").glob("*.pyz"):
            if path.name != Path(sys.argv[0]).name:
                path.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        """Keep other hosts from measuring on the device at the same time."""
        if self._has_lock:
            return
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends
            self._has_lock = True
        except BlockingIOError:
            os.close(lock)
            raise TransientDeviceError("another cellfarm measures on this device") from None

    def _present(self, name: str) -> bool:
        """Whether a name is there, unchanged since its content was checked; else remove it."""
        path = self._inside(name)
        stamp = self._stamp(name)
        with contextlib.suppress(OSError):
            if stamp.read_text(encoding="utf-8") == _listing(path):
                stamp.touch()  # for `_make_room`: when it was last used
                return True
        self._local.remove(name)
        return False

    def _adopt(self, name: str, digest: str, arrived: str, archive: bool) -> None:
        """Move an arrived file to its name, after checking its content.

        Args:
            digest: SHA-256 of the file that was sent.
            archive: whether it is a tar archive of a folder.
        """
        path, source = self._inside(name), self._inside(arrived)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            actual = file_digest(source)
            if actual != digest:
                raise TransientDeviceError(
                    f"{name} arrived damaged: SHA-256 {actual}, not {digest}"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            if archive:
                with tarfile.open(source) as opened:
                    # Made by the host, and checked by its SHA-256.
                    opened.extractall(temporary, **_FILTER)  # noqa: S202
            else:
                os.replace(source, temporary)
            os.replace(temporary, path)
            stamp = self._stamp(name)
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(_listing(path), encoding="utf-8")
        finally:
            discard(source)
            discard(temporary)

    def _run(self, argv: list[str], timeout_s: float, variables: dict[str, str]) -> dict[str, Any]:
        kind, stdin = self._frames.get()
        if kind != DATA:
            raise TransientDeviceError("the host broke off a call")
        try:
            launched = self._local.run(
                argv,
                stdin=stdin,
                timeout_s=timeout_s,
                variables=variables,
                on_line=lambda line: self._send(OUTPUT, line),
            )
        finally:
            # `_end_all` looks through all processes of the device, which is slow.
            kill_descendants() if self._adopts_orphans else self._end_all()
        return asdict(launched)

    def _read(self, name: str, limit_bytes: int) -> int | None:
        """Send a file as data, then return its size; None if it is not there."""
        path = self._inside(name)
        try:
            with path.open("rb") as file:
                data = file.read(limit_bytes + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit_bytes:
            raise PermanentDeviceError(f"{name} has more than {limit_bytes} bytes")
        with self._writing:
            self._sink.write(frame(DATA, data))
        return len(data)

    def _make_room(self, needed_bytes: int, limit_bytes: int, keep: list[str]) -> list[str]:
        """Remove the least recently used files until there is enough room; returns what was removed.

        Args:
            limit_bytes: how much the work folder may hold.
            keep: names that this experiment needs.

        Raises:
            PermanentDeviceError: it does not fit even so.
        """
        running_python = Path(os.__file__).parts  # may be among the runtimes
        sizes = {
            f"{folder}/{path.name}": _bytes(path)
            for folder in _DEPLOYED
            for path in (self._folder / folder).glob("*")
        }
        unused = [
            name for name in sizes if name not in keep and Path(name).name not in running_python
        ]
        removed: list[str] = []
        for name in sorted(unused, key=self._last_use):
            used_bytes = sum(sizes.values())
            if used_bytes + needed_bytes <= limit_bytes and self._free_bytes() >= needed_bytes:
                break
            self._local.remove(name)
            self._stamp(name).unlink(missing_ok=True)
            removed.append(name)
            del sizes[name]
        total_bytes = sum(sizes.values()) + needed_bytes
        if total_bytes > limit_bytes:
            raise PermanentDeviceError(
                f"the work folder would hold {total_bytes / 1e6:.0f} MB, more than its limit of "
                f"{limit_bytes / 1e6:.0f} MB (limits: work_folder_mb in the device's file)"
            )
        refuse_full(needed_bytes, self._free_bytes())
        return removed

    def _last_use(self, name: str) -> float:
        try:
            return self._stamp(name).stat().st_mtime
        except OSError:
            return 0.0  # its deployment did not finish

    def _free_bytes(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _stamp(self, name: str) -> Path:
        return self._folder / _STAMPS / name.replace("/", "-")

    def _inside(self, name: str) -> Path:
        parts = Path(name).parts
        if not parts or ".." in parts or Path(name).is_absolute():
            raise PermanentDeviceError(f"not a name in the work folder: {name}")
        return self._folder / name

    # The connection.

    def _listen(self) -> None:
        """Receive frames; when they end, or nothing comes for too long, clean up and exit."""
        try:
            self._take_frames()
        finally:  # also after invalid frames
            self._end()

    def _take_frames(self) -> None:
        pending = b""
        heard_s = time.monotonic()
        while time.monotonic() - heard_s < SILENCE_S:
            if not select.select([self._source], [], [], 1.0)[0]:
                continue
            chunk = os.read(self._source, 1 << 20)
            if not chunk:
                break
            heard_s = time.monotonic()
            pending += chunk
            while len(pending) >= HEAD_BYTES:
                kind, length = head(pending[:HEAD_BYTES])
                end = HEAD_BYTES + length
                if len(pending) < end:
                    break
                if kind != ALIVE:
                    self._frames.put((kind, pending[HEAD_BYTES:end]))
                pending = pending[end:]

    def _end(self) -> None:
        self._ending.acquire()  # once is enough
        # Nothing is sent any more: the end of a process killed now is not a measurement's.
        self._writing.acquire(timeout=2)  # a writer may hang, as nobody reads
        self._end_all()
        if self._has_lock:  # else everything is another host's
            with contextlib.suppress(OSError):
                self._local.release_control()
            self._local.remove("launches")
        os._exit(0)

    def _end_all(self) -> None:
        """Kill all processes started here and their descendants, including orphans."""
        kill_descendants()
        if self._has_lock:
            kill_marked(SPAWNED, HOME=str(self._folder))

    def _send_alive(self) -> None:
        while True:
            time.sleep(ALIVE_INTERVAL_S)
            self._send(ALIVE)

    def _send(self, kind: bytes, content: Any = None) -> None:
        if kind == ALIVE:
            data = b""
        else:
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        with self._writing:
            self._sink.write(frame(kind, data))
            self._sink.flush()


def _listing(path: Path) -> str:
    """A digest of names, sizes and dates, which shows a changed file without reading it."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    entries = []
    for file in files:
        status = file.lstat()
        entries.append(f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files)


def main() -> None:
    """`agent.pyz WORK_FOLDER`: frames on standard input and output."""
    source, sink = os.dup(0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # no other output gets between the frames
    # adbd sends SIGHUP when the connection is lost. The agent ends with its input instead, and cleans up.
    # The signal is not ignored, as started processes would inherit that.
    signal.signal(signal.SIGHUP, lambda *_: None)
    Agent(Path(sys.argv[1]), source, sink).serve()
