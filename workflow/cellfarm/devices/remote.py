"""Transports `ssh` and `adb`: a link to the device, and an agent on it that does the work.

What the two have in common is here; how bytes get there is the link's (ssh.py, adb.py). The agent is
transport `local` on the device: what an experiment does to a device is written once.
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
from .link import Link, ask
from .session import Session
from .transport import Interpreter, Launched

CALL_TIMEOUT_S = 60.0
#: A device that checks and unpacks slower than this is taken for hanging.
LEAST_BYTES_PER_S = 2_000_000
MAX_READ_BYTES = 64 << 20
READ_TIMEOUT_S = CALL_TIMEOUT_S + MAX_READ_BYTES / LEAST_BYTES_PER_S
#: A launch ends at its own deadline on the device; the host waits so much longer to hear of it.
GRACE_S = 30.0

_PATH = "/usr/local/bin:/usr/bin:/bin:/system/bin:/system/xbin"
#: Prints what exists of a path; fails if that is no folder that can be written.
_LOOK = """
path=$1
while [ -n "$path" ] && [ ! -e "$path" ]; do path=${path%/*}; done
echo "${path:-/}"
[ -d "${path:-/}" ] && [ -w "${path:-/}" ] && [ -x "${path:-/}" ]
"""


class RemoteTransport:
    """A device at the other end of a link; see transport.Transport.

    Nothing is tried twice here: a call after a lost connection makes a new one, and who measures
    knows how long to go on calling.

    Args:
        limit_mb: what the work folder may hold.
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
        #: What an agent that takes the place of a lost one has to do first; see `_agent`.
        self._first: list[tuple[str, dict[str, Any]]] = []
        #: What this connection has seen there, and what was ever put.
        self._present: set[str] = set()
        self._needed: set[str] = set()

    def facts(self) -> dict[str, Any]:
        return remote_facts.read(self._link, self.work_folder, _PATH)

    def check(self) -> None:
        answer = ask(self._link, ["sh", "-c", _LOOK, "sh", self.work_folder])
        if answer.code:
            existing = answer.output.decode(errors="replace").strip()
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be written ({existing} is no folder that can be "
                "written); change work_folder in the device's file, or its permissions"
            )

    def prepare(self) -> None:
        self._first = []
        self._call("prepare", {})
        self._first = [("prepare", {})]

    def take_control(self, governor: str) -> dict[str, Any]:
        arguments = {"governor": governor}
        done = dict(self._call("take_control", arguments))
        self._first.append(("take_control", arguments))
        return done

    def release_control(self) -> None:
        with contextlib.suppress(TransientDeviceError):
            if self._session is not None and not self._session.lost:
                self._call("release_control", {})
        self._first = [one for one in self._first if one[0] != "take_control"]

    def close(self) -> None:
        """The agent ends with its session: nothing is left running, what was set is put back."""
        self._first = []
        self._end_session()
        self._link.close()

    def put(self, source: Path, name: str) -> bool:
        self._needed.add(name)
        if name in self._present:
            return False
        if self._call("present", {"name": name}):
            self._present.add(name)
            return False
        with as_file(source) as file:
            size, digest = file.stat().st_size, file_digest(file)
            timeout_s = CALL_TIMEOUT_S + size / LEAST_BYTES_PER_S
            # An archive and what comes out of it are there at once.
            needed_bytes = 2 * size if source.is_dir() else size
            arguments = {
                "needed_bytes": needed_bytes,
                "limit_bytes": self._limit_bytes,
                "keep": sorted(self._needed),
            }
            self._call("make_room", arguments, timeout_s)
            arrived = f"{ARRIVALS}/{digest}"
            self._link.push(file, self.resolve(arrived))
            arguments = {
                "name": name,
                "digest": digest,
                "arrived": arrived,
                "archive": source.is_dir(),
            }
            self._call("adopt", arguments, timeout_s)
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
        # The agent removes what launches left when it ends: a lost connection is no reason to fail.
        with contextlib.suppress(TransientDeviceError):
            self._call("remove", {"name": name})

    def _call(
        self, name: str, arguments: Mapping[str, Any], timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        return self._agent().call(name, arguments, timeout_s)[0]

    def _agent(self) -> Session:
        """The session; a lost one is replaced. Raises as Link.open does."""
        if self._session is None or self._session.lost:
            self._end_session()
            self._present.clear()
            session = self._start_agent()
            try:
                for name, arguments in self._first:
                    session.call(name, arguments, CALL_TIMEOUT_S)
            except BaseException:
                session.close()
                raise
            self._session = session
        return self._session

    def _python(self) -> Interpreter:
        """A Python on the device: its own, or the one that is brought."""
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
                self._base = self._bring_python(target, facts["free_mb"])
        return self._base

    def _bring_python(self, target: Target, free_mb: int | None) -> Interpreter:
        environment = locate(self._project, f"{BUNDLED_PYTHON}+{target}")
        # Of the device, as far as the others are concerned: they can be measured without it.
        try:
            state = build(environment)
        except TransientHostError as error:
            raise TransientDeviceError(f"no Python for the device: {error}") from error
        if state.status != "ok":
            raise PermanentDeviceError(f"no Python for the device: {state.reason}")
        name = f"runtimes/{environment.folder.name}"
        self._bootstrap(environment.packages, self.resolve(name), free_mb)
        argv = device_python(self.resolve(name), environment.packages, target.architecture)
        return Interpreter((*argv, "-s"), {"PYTHONHOME": f"{self.resolve(name)}/usr"})

    def _start_agent(self) -> Session:
        """Put Python and the agent on the device, which has to be done without them; start it."""
        folders = [self.resolve(name) for name in (ARRIVALS, "runtimes", "agents", "launches")]
        made = ask(self._link, ["mkdir", "-p", *folders])
        if made.code:
            raise PermanentDeviceError(
                f"the work folder {self.work_folder} cannot be made: {made.log.strip()[:300]}; change "
                "work_folder in the device's file, or its permissions"
            )
        python = self._python()
        agent = pack_agent(self._project.results / "payloads")
        name = f"agents/{agent.name}"
        if not self._stands(name, file_digest(agent)):
            self._link.push(agent, self.resolve(name))
        variables = {**self.variables, **python.variables}
        set_to = [f"{key}={value}" for key, value in variables.items()]
        argv = ["env", "-i", *set_to, *python.argv, self.resolve(name), self.work_folder]
        return Session(self._link, argv)

    def _bootstrap(self, folder: Path, final: str, free_mb: int | None) -> None:
        """Python itself, by what every device's shell has: tar and sha256sum."""
        if ask(self._link, ["test", "-e", f"{final}/.complete"]).code == 0:
            return
        with as_file(folder) as file:
            if free_mb is not None:
                refuse_full(2 * file.stat().st_size, free_mb << 20)
            digest = file_digest(file)
            arrived = f"{ARRIVALS}/{digest}"
            self._link.push(file, self.resolve(arrived))
            if not self._stands(arrived, digest):
                raise TransientDeviceError("Python arrived damaged on the device")
            temporary = f"{final}.tmp"
            timeout_s = CALL_TIMEOUT_S + file.stat().st_size / LEAST_BYTES_PER_S
            for argv in (
                ["rm", "-rf", temporary, final],
                ["mkdir", "-p", temporary],
                ["tar", "-xf", self.resolve(arrived), "-C", temporary],
                ["touch", f"{temporary}/.complete"],
                ["mv", temporary, final],
                ["rm", "-f", self.resolve(arrived)],
            ):
                done = ask(self._link, argv, timeout_s=timeout_s)
                if done.code:
                    raise TransientDeviceError(
                        f"Python cannot be put on the device: {done.log.strip()[:300]}",
                        argv,
                        done.code,
                    )

    def _stands(self, name: str, digest: str) -> bool:
        """Whether a file of that SHA-256 is there."""
        answer = ask(self._link, ["sha256sum", self.resolve(name)], timeout_s=CALL_TIMEOUT_S)
        return answer.code == 0 and answer.output.split()[:1] == [digest.encode()]

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


@contextlib.contextmanager
def as_file(source: Path) -> Iterator[Path]:
    """A file as it is, a folder as a tar archive whose bytes depend on names and contents only."""
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
