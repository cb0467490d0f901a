"""Transport `local`: this machine, with a work folder."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..base.digests import file_digest
from ..base.errors import PermanentDeviceError, TransientDeviceError
from ..base.processes import die_with_parent
from . import facts as device_facts
from .control import KEEP, GovernorControl
from .transport import SPAWNED, Interpreter, Launched

if TYPE_CHECKING:
    from ..envs.environments import Environment

_KEPT_VARIABLES = (
    "PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LD_LIBRARY_PATH",
    # for the system's Vulkan drivers
    "VK_ICD_FILENAMES", "VK_DRIVER_FILES", "XDG_RUNTIME_DIR",
)  # fmt: skip
LOG_TAIL_BYTES = 16_384
MAX_LINE_BYTES = 16 << 20  # a record of a million samples; more is a fault of the runner


class LocalTransport:
    """Runs on this machine, in a work folder."""

    is_host = True

    def __init__(self, work_folder: Path) -> None:
        self.work_folder = work_folder
        #: Names with checked content.
        self._checked: set[str] = set()

    def facts(self) -> dict[str, Any]:
        return device_facts.read_local()

    def check(self) -> None:
        existing = self.work_folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be written ({existing} is no folder "
                "that can be written); change work_folder in the device's file, or its permissions"
            )

    def prepare(self) -> None:
        try:
            discard(self.work_folder / "launches")  # of runs that were killed
            (self.work_folder / "launches").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.work_folder):
                pass
        except OSError as error:
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be written: {error.strerror}; "
                "change work_folder in the device's file, or its permissions"
            ) from error
        self._governor().restore()

    def take_control(self, governor: str) -> dict[str, Any]:
        if governor == KEEP:
            return {"governor": None, "reason": None}
        return self._governor().set(governor)

    def release_control(self) -> None:
        self._governor().restore()

    def close(self) -> None:
        pass

    def _governor(self) -> GovernorControl:
        return GovernorControl(Path("/"), self.work_folder / "governor.json")

    def put(self, source: Path, name: str) -> bool:
        if name in self._checked:
            return False
        destination = self.work_folder / name
        sums = self.work_folder / ".verified" / name.replace("/", "-")
        with contextlib.suppress(OSError):
            if sums.read_text(encoding="utf-8") == _checksums(destination):
                self._checked.add(name)
                return False
        discard(destination)  # damaged, or from an interrupted `put`
        temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, temporary)
            else:
                shutil.copyfile(source, temporary)
            sums.parent.mkdir(exist_ok=True)
            sums.write_text(_checksums(temporary), encoding="utf-8")
            os.replace(temporary, destination)
        except OSError as error:
            discard(temporary)
            raise TransientDeviceError(
                f"{source.name} cannot be deployed to {self.work_folder}: {error.strerror or error}"
            ) from error
        self._checked.add(name)
        return True

    def interpreter(self, environment: Environment | None) -> Interpreter:
        python = str(environment.python) if environment else sys.executable
        return Interpreter((python, "-s", "-E"), {})

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return kept | {"HOME": os.environ.get("HOME", "/nonexistent")}

    def resolve(self, name: str) -> str:
        return str((self.work_folder / name).resolve())

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes,
        timeout_s: float,
        variables: Mapping[str, str],
        on_line: Callable[[str], None],
        keep_open: Sequence[int] = (),
    ) -> Launched:
        with tempfile.TemporaryFile() as log:
            spawned_ns = time.monotonic_ns()
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**variables, SPAWNED: str(spawned_ns)},
                    pass_fds=keep_open,
                    start_new_session=True,  # its own group, so that all of it can be killed
                    preexec_fn=die_with_parent,  # a runner must not outlive the measuring process
                )
            except OSError as error:
                raise PermanentDeviceError(
                    f"{argv[0]} cannot be started: {error.strerror}", argv
                ) from error
            try:
                timed_out = _converse(process, stdin, timeout_s, on_line)
            finally:
                _kill_group(process)
            return Launched(process.returncode, timed_out, _tail(log.fileno()), spawned_ns)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.work_folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        self._checked.discard(name)
        discard(self.work_folder / name)


def _converse(
    process: subprocess.Popen[bytes],
    request: bytes,
    timeout_s: float,
    on_line: Callable[[str], None],
) -> bool:
    """Feed standard input, read standard output by lines; returns whether the deadline passed."""
    assert process.stdin and process.stdout
    deadline = time.monotonic() + timeout_s
    # Not blocking: a command that reads nothing must not keep this process beyond the deadline.
    os.set_blocking(process.stdin.fileno(), False)
    unsent = memoryview(request)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or len(pending) > MAX_LINE_BYTES:
                return True
            ready = {key.fileobj for key, _ in selector.select(left)}
            if process.stdin in ready:
                unsent = _send(process.stdin, unsent)
                if not unsent:
                    selector.unregister(process.stdin)
                    process.stdin.close()
            if process.stdout not in ready:
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace"))
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False


def _send(stream: IO[bytes], unsent: memoryview) -> memoryview:
    """Write what fits; returns the rest, which is empty once the other end is closed."""
    try:
        return unsent[os.write(stream.fileno(), unsent[: 1 << 16]) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        return unsent[:0]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    start = max(0, size - LOG_TAIL_BYTES)
    return os.pread(descriptor, LOG_TAIL_BYTES, start).decode(errors="replace")


def _checksums(path: Path) -> str:
    """SHA-256 of a file, or of every file of a folder with its name."""
    lines = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_dir():
            lines.append(f"{file_digest(file)} {file.relative_to(path).as_posix()}\n")
    return "".join(lines)


def discard(path: Path) -> None:
    """Delete a file or folder as far as possible; never raises."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
