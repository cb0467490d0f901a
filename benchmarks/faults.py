"""The fault matrix's virtual devices, and faults that strike at a set moment."""

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

#: How a use of a device may end: undisturbed; repeated; given up, and why.
UNNOTICED, RECOVERED, TRANSIENT, PERMANENT = "unnoticed", "recovered", "transient", "permanent"
#: How it must never end.
HANGS, WRONG, TOO_LATE = "hangs", "wrong", "struck too late"

KILL_SERVER, TRUST = "kill the adb server", "trust the new key"

#: The number of bytes of a file that are transferred when a fault strikes.
STRIKE_BYTES = 4 << 20


@dataclass(frozen=True)
class Fault:
    """A fault, and the outcome of the use that it interrupts.

    Attributes:
        kinds: the kinds of devices that can have it.
        inflict: the argument of `cellfarm virtual fault`, or a fault of this module.
        undo: the argument that ends it; None: it needs no end.
        lasts_s: seconds until it is undone; None: it is undone after the use.
        outcomes: one for each phase, in the order of PHASES.
        words: a regular expression for the message when the device is given up.
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
    """A virtual device that runs one case after the other.

    Attributes:
        transport: the transport that the cases share; `link` is its link.
        work_folder: the device's work folder, as this machine sees it.
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
        """Open a new transport."""
        transport = open_device(self.device, self.project)
        assert isinstance(transport, RemoteTransport)
        return transport

    def suffer(self, fault: str) -> None:
        """Inflict or undo a fault."""
        address = self.document["address"]
        if fault == KILL_SERVER:
            argv = [adbutils.adb_path(), "-P", str(address["server_port"]), "kill-server"]
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        elif fault == TRUST:  # what a person does who knows why the key changed
            known_hosts = Path(address["known_hosts"])
            key = known_hosts.with_name("host_key.pub").read_text(encoding="utf-8").split()[:2]
            entry = f"[{address['host']}]:{address['port']} {' '.join(key)}\n"
            known_hosts.write_text(entry, encoding="utf-8")
        else:
            inflict(self.project, self.name, fault)

    def arrived_bytes(self) -> int:
        """The number of bytes of the file that is being pushed."""
        sizes = [0]
        with contextlib.suppress(OSError):
            for path in (self.work_folder / "arrivals").iterdir():
                with contextlib.suppress(OSError):
                    sizes.append(path.stat().st_size)
        return max(sizes)

    def processes(self) -> list[psutil.Process]:
        """The users' processes on the device, without its own daemon."""
        matches = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if lives(process) and not process.name().startswith("sshd"):
                    matches.append(process)
        return matches

    def strays(self) -> list[psutil.Process]:
        """The processes other than the newest agent, which belongs to a session."""
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
        root: an existing folder.
        template: the work folder of another such device, to begin with a copy of it.
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
    """Wait for processes to end; returns the commands of those that run at `until_s` (monotonic)."""
    while processes := find():
        if time.monotonic() > until_s:
            return [" ".join(_command(process))[-200:] for process in processes]
        time.sleep(0.5)
    return []


class Strike:
    """A fault that strikes a device at the first call.

    Attributes:
        at_s: when it struck, by the monotonic clock; None: not yet.
        victims: the processes that ran on the device then.
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
    """Reports the number of bytes that a channel received."""

    def __init__(self, channel: Channel, on_bytes: Callable[[int], None]) -> None:
        self._channel, self._on_bytes = channel, on_bytes
        self.send, self.finish = channel.send, channel.finish
        self.ended, self.close = channel.ended, channel.close

    def receive(self, timeout_s: float) -> bytes | None:
        chunk = self._channel.receive(timeout_s)
        self._on_bytes(len(chunk or b""))
        return chunk


class WatchedLink:
    """A link that calls back at a set moment."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.push, self.close = link.push, link.close
        self.strike()

    def strike(
        self,
        at_start: Callable[[], None] | None = None,
        at_bytes: Callable[[], None] | None = None,
    ) -> None:
        """Set the calls: when an agent has started, and when STRIKE_BYTES have been received."""
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
