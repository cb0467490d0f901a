"""What the fault matrix works with: virtual devices, and faults that strike at a given moment."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import adbutils
import psutil
from cellfarm.base.project import Project
from cellfarm.devices import open_device
from cellfarm.devices.link import Channel, Link
from cellfarm.devices.remote import RemoteTransport
from cellfarm.virtual.network import network_for_board
from cellfarm.virtual.phone import ROOT, WORK_FOLDER
from cellfarm.virtual.starting import Started, free_port, inflict, virtual_board, virtual_phone

from .figures import REPOSITORY
from .project_copy import CopiedProject

PHONE, BOARD = "phone", "board"
PUSH, LAUNCH, MEASURE, PULL = PHASES = ("push", "launch", "measure", "pull")

#: How a use of a device may end: as if nothing had been; done again; given up, and why.
UNNOTICED, RECOVERED, TRANSIENT, PERMANENT = "unnoticed", "recovered", "transient", "permanent"
#: How it never may.
HANGS, WRONG, TOO_LATE = "hangs", "wrong", "struck too late"

KILL_SERVER, TRUST = "kill the adb server", "trust the new key"

#: So much of a file has gone over when a fault strikes.
STRIKE_BYTES = 4 << 20


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and what becomes of the use of the device that it meets.

    Attributes:
        kinds: of devices that may have it.
        inflict: what `cellfarm virtual fault` is told, or one of this module's own.
        undo: what ends it; None: nothing has to.
        lasts_s: after which it ends; None: once the use has ended.
        outcomes: by phase, in the order of PHASES.
        words: what a person is told of it when the device is given up (a regular expression).
    """

    name: str
    kinds: tuple[str, ...]
    inflict: str
    outcomes: tuple[str, str, str, str]
    undo: str | None = None
    lasts_s: float | None = None
    words: str = ""

    def outcome(self, phase: str) -> str:
        return self.outcomes[PHASES.index(phase)]


class Device:
    """A virtual device of one case after the other.

    Attributes:
        transport: what the cases have in common; `link` is its link.
        work_folder: the device's, as this machine sees it.
    """

    def __init__(self, kind: str, name: str, project: Project, started: Started) -> None:
        self.kind, self.name = kind, name
        self.document = started.document
        self.device = started.device
        self.project = project
        self._process = started.process
        self.work_folder = _work_folder(project, kind, name)
        self.transport = self.open()
        self.link = WatchedLink(self.transport._link)
        self.transport._link = self.link

    def open(self) -> RemoteTransport:
        """A transport of one's own."""
        transport = open_device(self.device, self.project)
        assert isinstance(transport, RemoteTransport)
        return transport

    def suffer(self, fault: str) -> None:
        """Let something go wrong, or right again."""
        address = self.document["address"]
        if fault == KILL_SERVER:
            argv = [adbutils.adb_path(), "-P", str(address["server_port"]), "kill-server"]
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        elif fault == TRUST:  # what a person does who knows why the key is another
            known_hosts = Path(address["known_hosts"])
            key = known_hosts.with_name("host_key.pub").read_text(encoding="utf-8").split()[:2]
            entry = f"[{address['host']}]:{address['port']} {' '.join(key)}\n"
            known_hosts.write_text(entry, encoding="utf-8")
        else:
            inflict(self.project, self.name, fault)

    def arrived_bytes(self) -> int:
        """Of the file that is being pushed."""
        sizes = [0]
        with contextlib.suppress(OSError):
            for path in (self.work_folder / "arrivals").iterdir():
                with contextlib.suppress(OSError):
                    sizes.append(path.stat().st_size)
        return max(sizes)

    def processes(self) -> list[psutil.Process]:
        """What runs there for its users; the device's own daemon is none of them."""
        matches = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if lives(process) and not process.name().startswith("sshd"):
                    matches.append(process)
        return matches

    def strays(self) -> list[psutil.Process]:
        """Those but for one agent, the newest, which is a session's."""
        commands = {process: " ".join(_command(process)) for process in self.processes()}
        agents = [process for process in commands if "/agents/" in commands[process]]
        newest = max(agents, key=lambda process: process.create_time(), default=None)
        return [process for process in commands if process != newest]


@contextlib.contextmanager
def virtual_device(
    kind: str, name: str, root: Path, template: Path | None = None
) -> Iterator[Device]:
    """A device with a project of its own; a phone with an adb server of its own, a board with an address of
    its own where this user may give it one.

    Args:
        root: a folder that is there.
        like: the work folder of another such device, whose content it begins with.
    """
    project = CopiedProject(root / name, Project(REPOSITORY).environments)
    project.root.mkdir()
    project.locks.symlink_to(REPOSITORY / "envs")
    if template is not None:
        shutil.copytree(template, _work_folder(project, kind, name), symlinks=True)
    if kind == BOARD:
        with (
            network_for_board(lambda _: None) as network,
            virtual_board(project, name, network=network) as started,
        ):
            yield Device(kind, name, project, started)
        return
    port = free_port()
    try:
        with virtual_phone(project, name, server_port=port) as started:
            yield Device(kind, name, project, started)
    finally:
        argv = [adbutils.adb_path(), "-P", str(port), "kill-server"]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _work_folder(project: Project, kind: str, name: str) -> Path:
    below = f"{ROOT}{WORK_FOLDER}" if kind == PHONE else "work"
    return project.results / "virtual" / name / below


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_until_gone(find: Callable[[], list[psutil.Process]], until_s: float) -> list[str]:
    """The commands of those that live on even then (a time of the monotonic clock)."""
    while processes := find():
        if time.monotonic() > until_s:
            return [" ".join(_command(process))[-200:] for process in processes]
        time.sleep(0.5)
    return []


class Strike:
    """A fault that strikes a device once, when it is called.

    Attributes:
        at_s: when it did, of the monotonic clock; None: not yet.
        victims: what ran on the device then.
    """

    def __init__(self, device: Device, fault: Fault) -> None:
        self._device, self._fault = device, fault
        self._once = threading.Lock()
        self.at_s: float | None = None
        self.victims: list[psutil.Process] = []

    def __call__(self) -> None:
        with self._once:
            if self.at_s is not None:
                return
            self.victims = self._device.processes()
            self.at_s = time.monotonic()
        self._device.suffer(self._fault.inflict)
        if self._fault.lasts_s and self._fault.undo:
            later = threading.Timer(self._fault.lasts_s, self._device.suffer, [self._fault.undo])
            later.daemon = True
            later.start()


class _WatchedChannel:
    """Tells how much has come through a channel."""

    def __init__(self, channel: Channel, on_bytes: Callable[[int], None]) -> None:
        self._channel, self._on_bytes = channel, on_bytes
        self.send, self.finish = channel.send, channel.finish
        self.ended, self.close = channel.ended, channel.close

    def receive(self, timeout_s: float) -> bytes | None:
        chunk = self._channel.receive(timeout_s)
        self._on_bytes(len(chunk or b""))
        return chunk


class WatchedLink:
    """A link that strikes when it is told to."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.push, self.close = link.push, link.close
        self.strike()

    def strike(
        self,
        at_start: Callable[[], None] | None = None,
        at_bytes: Callable[[], None] | None = None,
    ) -> None:
        """From now on: when an agent has been started; when STRIKE_BYTES have come."""
        self._at_start, self._at_bytes = at_start, at_bytes
        self._received_bytes = 0

    def open(self, argv: Sequence[str]) -> Channel:
        channel = self._link.open(argv)
        if self._at_start and any("/agents/" in part for part in argv) and argv[0] == "env":
            self._at_start()
        return _WatchedChannel(channel, self._count)

    def _count(self, count: int) -> None:
        self._received_bytes += count
        if self._at_bytes and self._received_bytes >= STRIKE_BYTES:
            self._at_bytes()
