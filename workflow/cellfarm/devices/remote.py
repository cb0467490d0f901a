"""Transports `ssh` and `adb`: a link to the device, and an agent on it that does the work.

The link (ssh.py, adb.py) moves bytes; everything else is common to both. The agent is transport `local` on
the device, so that an experiment's actions are written once.
"""

from __future__ import annotations

import contextlib
import posixpath
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.digests import file_digest
from ..base.errors import PermanentDeviceError, TransientDeviceError, TransientHostError
from ..base.project import Project
from ..envs.debian.trees import device_python
from ..envs.environments import Environment, build, locate
from ..envs.targets import BUNDLED_PYTHON, Target, target_of
from . import remote_facts
from .agent import ARRIVALS
from .agent_payload import pack_agent
from .limits import WORK_FOLDER_MB, refuse_full
from .link import Answer, Link, ask
from .session import Session
from .transport import Interpreter, Launched

CALL_TIMEOUT_S = 60.0
#: A device that checks and unpacks slower than this counts as hanging.
MIN_BYTES_PER_S = 2_000_000
MAX_READ_BYTES = 64 << 20
READ_TIMEOUT_S = CALL_TIMEOUT_S + MAX_READ_BYTES / MIN_BYTES_PER_S
#: A launch ends at its deadline on the device; the host waits this much longer for the answer.
GRACE_S = 30.0

_PATH = "/usr/local/bin:/usr/bin:/bin:/system/bin:/system/xbin"
#: Prints the existing part of a path; fails unless that is a writable folder.
_CHECK_SCRIPT = """
path=$1
while [ -n "$path" ] && [ ! -e "$path" ]; do path=${path%/*}; done
echo "${path:-/}"
[ -d "${path:-/}" ] && [ -w "${path:-/}" ] && [ -x "${path:-/}" ]
"""


class RemoteTransport:
    """A device at the other end of a link; see transport.Transport.

    Nothing is retried here: a call after a lost connection opens a new one, and the experiment decides
    how long to go on calling.

    Args:
        limit_mb: how much the work folder may hold.
    """

    is_host = False

    def __init__(
        self, link: Link, work_folder: str, project: Project, limit_mb: int = WORK_FOLDER_MB
    ) -> None:
        self.work_folder = work_folder
        self._limit_bytes = limit_mb << 20
        self._link = link
        self._project = project
        self._session: Session | None = None
        self._base: Interpreter | None = None
        #: The first calls to an agent that replaces a lost one; see `_agent`.
        self._first_calls: list[tuple[str, dict[str, Any]]] = []
        #: Names that this connection has seen on the device, and all that were put.
        self._present: set[str] = set()
        self._needed: set[str] = set()

    def facts(self) -> dict[str, Any]:
        return remote_facts.read(self._link, self.work_folder, _PATH)

    def check(self) -> None:
        answer = ask(self._link, ["sh", "-c", _CHECK_SCRIPT, "sh", self.work_folder])
        if answer.code:
            existing = answer.output.decode(errors="replace").strip()
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be written ({existing} is no folder that can be "
                "written); change work_folder in the device's file, or its permissions"
            )

    def prepare(self) -> None:
        self._first_calls = []
        self._call("prepare")
        self._first_calls = [("prepare", {})]

    def take_control(self, governor: str) -> dict[str, Any]:
        outcome = dict(self._call("take_control", governor=governor))
        self._first_calls.append(("take_control", {"governor": governor}))
        return outcome

    def release_control(self) -> None:
        with contextlib.suppress(TransientDeviceError):
            if self._session is not None and not self._session.lost:
                self._call("release_control")
        self._first_calls = [call for call in self._first_calls if call[0] != "take_control"]

    def close(self) -> None:
        """The agent ends with its session: it leaves nothing running and restores the settings."""
        self._first_calls = []
        self._end_session()
        self._link.close()

    def put(self, source: Path, name: str) -> bool:
        self._needed.add(name)
        if name in self._present:
            return False
        if self._call("present", name=name):
            self._present.add(name)
            return False
        with as_file(source) as file:
            size, digest = file.stat().st_size, file_digest(file)
            timeout_s = CALL_TIMEOUT_S + size / MIN_BYTES_PER_S
            needed_bytes = 2 * size if source.is_dir() else size  # archive and unpacked files
            self._call(
                "make_room",
                timeout_s,
                needed_bytes=needed_bytes,
                limit_bytes=self._limit_bytes,
                keep=sorted(self._needed),
            )
            arrived = f"{ARRIVALS}/{digest}"
            self._link.push(file, self.resolve(arrived))
            is_archive = source.is_dir()
            self._call(
                "adopt", timeout_s, name=name, digest=digest, arrived=arrived, archive=is_archive
            )
        self._present.add(name)
        return True

    def interpreter(self, environment: Environment | None) -> Interpreter:
        base = self._python()
        if environment is None:
            return base
        name = f"runtimes/{environment.folder.name}"
        self.put(environment.packages, name)
        path = {"PYTHONPATH": self.resolve(name)}
        return Interpreter(base.argv, {**base.variables, **path})

    @property
    def variables(self) -> dict[str, str]:
        # A phone has neither of these folders.
        return {"PATH": _PATH, "HOME": self.work_folder, "TMPDIR": self.resolve("launches")}

    def resolve(self, name: str) -> str:
        return posixpath.join(self.work_folder, name)

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
        arguments = {"argv": list(argv), "timeout_s": timeout_s, "variables": dict(variables)}
        result, _ = self._agent().call("run", arguments, timeout_s + GRACE_S, stdin, on_line)
        return Launched(**result)

    def read(self, name: str) -> bytes | None:
        arguments = {"name": name, "limit_bytes": MAX_READ_BYTES}
        size, data = self._agent().call("read", arguments, READ_TIMEOUT_S)
        return None if size is None else data

    def remove(self, name: str) -> None:
        self._present.discard(name)
        # Not needed after a lost connection: the agent then removes the files of launches.
        with contextlib.suppress(TransientDeviceError):
            self._call("remove", name=name)

    def _call(self, call: str, /, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> Any:
        return self._agent().call(call, arguments, timeout_s)[0]

    def _agent(self) -> Session:
        """The session, replaced if it is lost. Raises as Link.open does."""
        if self._session is None or self._session.lost:
            self._end_session()
            self._present.clear()
            session = self._start_agent()
            try:
                for name, arguments in self._first_calls:
                    session.call(name, arguments, CALL_TIMEOUT_S)
            except BaseException:
                session.close()
                raise
            self._session = session
        return self._session

    def _python(self) -> Interpreter:
        """A Python on the device: the device's, or the one that cellfarm installs."""
        if self._base is None:
            facts = self.facts()
            target = target_of(facts)
            if target is None:
                raise PermanentDeviceError(
                    f"its architecture, {facts['architecture']}, is none that cellfarm knows"
                )
            if not target.bundled:
                self._base = Interpreter(("python3", "-s"), {})
            else:
                self._base = self._install_python(target, facts["free_mb"])
        return self._base

    def _install_python(self, target: Target, free_mb: int | None) -> Interpreter:
        environment = locate(self._project, f"{BUNDLED_PYTHON}+{target}")
        # A failed build is an error of this device: the others can be measured.
        try:
            state = build(environment)
        except TransientHostError as error:
            raise TransientDeviceError(f"no Python for the device: {error}") from error
        if state.status != "ok":
            raise PermanentDeviceError(f"no Python for the device: {state.reason}")
        name = f"runtimes/{environment.folder.name}"
        self._unpack_python(environment.packages, self.resolve(name), free_mb)
        argv = device_python(self.resolve(name), environment.packages, target.architecture)
        return Interpreter((*argv, "-s"), {"PYTHONHOME": f"{self.resolve(name)}/usr"})

    def _start_agent(self) -> Session:
        """Put Python and the agent on the device, by shell commands; start the agent."""
        folders = [self.resolve(name) for name in (ARRIVALS, "runtimes", "agents", "launches")]
        self._check_made(ask(self._link, ["mkdir", "-p", *folders]))
        python = self._python()
        agent = pack_agent(self._project.results / "payloads")
        name = f"agents/{agent.name}"
        if not self._has_file(name, file_digest(agent)):
            self._link.push(agent, self.resolve(name))
        variables = {**self.variables, **python.variables}
        assignments = [f"{key}={value}" for key, value in variables.items()]
        argv = ["env", "-i", *assignments, *python.argv, self.resolve(name), self.work_folder]
        return Session(self._link, argv)

    def _unpack_python(self, folder: Path, final: str, free_mb: int | None) -> None:
        """Put Python on the device with what every shell has: tar and sha256sum."""
        if ask(self._link, ["test", "-e", f"{final}/.complete"]).code == 0:
            return
        with as_file(folder) as file:
            if free_mb is not None:
                refuse_full(2 * file.stat().st_size, free_mb << 20)
            digest = file_digest(file)
            arrived = f"{ARRIVALS}/{digest}"
            self._link.push(file, self.resolve(arrived))
            if not self._has_file(arrived, digest):
                raise TransientDeviceError("Python arrived damaged on the device")
            temporary = f"{final}.tmp"
            timeout_s = CALL_TIMEOUT_S + file.stat().st_size / MIN_BYTES_PER_S
            steps = [
                ["rm", "-rf", temporary, final],
                ["mkdir", "-p", temporary],
                ["tar", "-xf", self.resolve(arrived), "-C", temporary],
                ["touch", f"{temporary}/.complete"],
                ["mv", temporary, final],
                ["rm", "-f", self.resolve(arrived)],
            ]
            self._run_steps("Python", steps, timeout_s)

    def _run_steps(self, name: str, steps: Sequence[Sequence[str]], timeout_s: float) -> None:
        """Run the commands that put a file or folder on the device."""
        for argv in steps:
            answer = ask(self._link, argv, timeout_s=timeout_s)
            if answer.code:
                message = f"{name} cannot be put on the device: {answer.log.strip()[:300]}"
                raise TransientDeviceError(message, argv, answer.code)

    def _check_made(self, answer: Answer) -> None:
        """Raise if the command that makes the work folder failed."""
        if answer.code:
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be made: {answer.log.strip()[:300]}; change "
                "work_folder in the device's file, or its permissions"
            )

    def _has_file(self, name: str, digest: str) -> bool:
        """Whether the device has a file of this name and SHA-256."""
        answer = ask(self._link, ["sha256sum", self.resolve(name)], timeout_s=CALL_TIMEOUT_S)
        return answer.code == 0 and answer.output.split()[:1] == [digest.encode()]

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


@contextlib.contextmanager
def as_file(source: Path) -> Iterator[Path]:
    """A file as it is, or a folder as a tar archive whose bytes depend only on names and contents."""
    if not source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="cellfarm-push-") as folder:
        archive = Path(folder, "files.tar")
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as opened:
            for path in sorted(source.rglob("*")):
                member = opened.gettarinfo(path, path.relative_to(source).as_posix())
                member.uid = member.gid = member.mtime = 0
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                if member.isreg():
                    with path.open("rb") as file:
                        opened.addfile(member, file)
                elif member.isdir() or member.issym():
                    opened.addfile(member)
        yield archive
