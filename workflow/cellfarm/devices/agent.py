"""The agent: transport `local` on a device, for a host at the other end of a connection.

Runs on the device as a zip application, one for each experiment, and lives as long as its standard
input: when that ends, or is silent for too long, every process that was started is killed, what was set
on the device is put back, and the agent ends. So nothing stays behind when a cable is pulled.

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
import shutil
import signal
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..base.errors import PermanentDeviceError, TransientDeviceError
from ..base.processes import adopt_orphans, kill_descendants, kill_marked
from .framing import ALIVE, CALL, DATA, ERROR, HEAD_BYTES, OUTPUT, RESULT, frame, head
from .limits import refuse_full
from .local import LocalTransport
from .transport import SPAWNED

#: Both ends say this often that they live; silence for `SILENCE_S` is a lost connection.
ALIVE_EVERY_S = 3.0
SILENCE_S = 20.0
#: Where files arrive before they are checked and get their names.
ARRIVALS = "arrivals"
#: Where what was deployed stands, in folders and files of one name each.
_DEPLOYED = ("payloads", "artifacts", "inputs", "runtimes")
_STAMPS = ".verified"
#: No attempt will change these.
_PERMANENT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
#: Python 3.11.2, which Debian 12 has, knows none; the archive is the host's own, by its SHA-256.
_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


class Agent:
    """Serves calls until its input ends.

    Args:
        work_folder: the device's.
        source: descriptor that the host's frames come from.
        sink: where those to the host go.
    """

    def __init__(self, work_folder: Path, source: int, sink: BinaryIO) -> None:
        self._local = LocalTransport(work_folder)
        self._folder = work_folder
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        self._ending = threading.Lock()
        self._is_ours = False
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
        """Until the input ends; does not return."""
        self._adopts_orphans = adopt_orphans()
        for work in (self._listen, self._say_alive):
            threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                kind, content = self._frames.get()
                if kind == CALL:
                    self._answer(json.loads(content))
        except BaseException:
            # Nobody takes what is written any more, which may be seen before the input ends; or
            # worse, and then the last line is what the host tells.
            traceback.print_exc()
            self._abandon()

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
        self._end_all()  # that an agent left which was itself killed; nothing of this one runs yet
        self._local.prepare()
        self._local.remove(ARRIVALS)  # of pushes that were broken off
        (self._folder / ARRIVALS).mkdir()
        for path in (self._folder / "agents").glob("*.pyz"):
            if path.name != Path(sys.argv[0]).name:
                path.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        """Hosts that know nothing of each other must not measure on one device at once."""
        if self._is_ours:
            return
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends
            self._is_ours = True
        except BlockingIOError:
            os.close(lock)
            raise TransientDeviceError("another cellfarm measures on this device") from None

    def _present(self, name: str) -> bool:
        """Whether a name is there as it was when its content was checked; else it is removed."""
        path = self._inside(name)
        stamp = self._stamp(name)
        with contextlib.suppress(OSError):
            if stamp.read_text(encoding="utf-8") == _listing(path):
                stamp.touch()  # `_make_room` asks when it was last used
                return True
        self._local.remove(name)
        return False

    def _adopt(self, name: str, digest: str, arrived: str, archive: bool) -> None:
        """Put what arrived under its name, once its content is what was sent.

        Args:
            digest: SHA-256 of the file that was sent.
            archive: it is a tar archive of a folder.
        """
        path, source = self._inside(name), self._inside(arrived)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            found = _sha256(source)
            if found != digest:
                raise TransientDeviceError(f"{name} arrived damaged: SHA-256 {found}, not {digest}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if archive:
                with tarfile.open(source) as opened:
                    # Made by this host; it is what was sent, by its SHA-256.
                    opened.extractall(temporary, **_FILTER)  # noqa: S202
            else:
                os.replace(source, temporary)
            os.replace(temporary, path)
            stamp = self._stamp(name)
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(_listing(path), encoding="utf-8")
        finally:
            for left in (source, temporary):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(
                    missing_ok=True
                )

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
            # To look through every process of the device after each launch takes longer than all else
            # that the agent does.
            kill_descendants() if self._adopts_orphans else self._end_all()
        return {
            "code": launched.code,
            "timed_out": launched.timed_out,
            "log": launched.log,
            "spawned_ns": launched.spawned_ns,
        }

    def _read(self, name: str, limit_bytes: int) -> int | None:
        """The size of a file, which goes before as data; None if it is not there."""
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
        """Remove what was not used for longest until so much more fits; returns what was removed.

        Args:
            limit_bytes: what the work folder may hold.
            keep: names that this experiment needs.

        Raises:
            PermanentDeviceError: it does not fit even so.
        """
        own = Path(os.__file__).parts  # the Python that this runs in may stand there, too
        sizes = {
            f"{folder}/{path.name}": _bytes(path)
            for folder in _DEPLOYED
            for path in (self._folder / folder).glob("*")
        }
        unused = [name for name in sizes if name not in keep and Path(name).name not in own]
        removed: list[str] = []
        for name in sorted(unused, key=self._last_use):
            used_bytes = sum(sizes.values())
            if used_bytes + needed_bytes <= limit_bytes and self._free_bytes() >= needed_bytes:
                break
            self._local.remove(name)
            self._stamp(name).unlink(missing_ok=True)
            removed.append(name)
            del sizes[name]
        would_be = sum(sizes.values()) + needed_bytes
        if would_be > limit_bytes:
            raise PermanentDeviceError(
                f"the work folder would hold {would_be / 1e6:.0f} MB, more than its limit of "
                f"{limit_bytes / 1e6:.0f} MB (limits: work_folder_mb in the device's file)"
            )
        refuse_full(needed_bytes, self._free_bytes())
        return removed

    def _last_use(self, name: str) -> float:
        try:
            return self._stamp(name).stat().st_mtime
        except OSError:
            return 0.0  # never finished

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
        """Take in frames; when they end, or nothing comes for too long, leave nothing behind."""
        try:
            self._take_frames()
        finally:  # also when they are none
            self._abandon()

    def _take_frames(self) -> None:
        waiting = b""
        heard = time.monotonic()
        while time.monotonic() - heard < SILENCE_S:
            if not select.select([self._source], [], [], 1.0)[0]:
                continue
            chunk = os.read(self._source, 1 << 20)
            if not chunk:
                break
            heard = time.monotonic()
            waiting += chunk
            while len(waiting) >= HEAD_BYTES:
                kind, length = head(waiting[:HEAD_BYTES])
                end = HEAD_BYTES + length
                if len(waiting) < end:
                    break
                if kind != ALIVE:
                    self._frames.put((kind, waiting[HEAD_BYTES:end]))
                waiting = waiting[end:]

    def _abandon(self) -> None:
        self._ending.acquire()  # once is enough
        # The end of what is killed now is none that anybody may take for a measurement's.
        self._writing.acquire(timeout=2)  # who writes may be stuck, as nobody reads
        self._end_all()
        if self._is_ours:  # or all that is another host's
            with contextlib.suppress(OSError):
                self._local.release_control()
            self._local.remove("launches")
        os._exit(0)

    def _end_all(self) -> None:
        """What was started here, and what that has started: also what is nobody's child any more."""
        kill_descendants()
        if self._is_ours:
            kill_marked(SPAWNED, HOME=str(self._folder))

    def _say_alive(self) -> None:
        while True:
            time.sleep(ALIVE_EVERY_S)
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
    """A digest of names, sizes and dates: what tells a changed file without reading it all."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    entries = []
    for file in files:
        status = file.lstat()
        entries.append(f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def main() -> None:
    """`agent.pyz WORK_FOLDER`: frames on standard input and output."""
    source, sink = os.dup(0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else gets among the frames
    # adbd sends it when the connection is lost. The end of the input says so, too, and then there is
    # still something to do. It is not ignored, as what is started here would inherit that.
    signal.signal(signal.SIGHUP, lambda *_: None)
    Agent(Path(sys.argv[1]), source, sink).serve()
