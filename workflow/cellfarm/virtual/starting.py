"""Starting and stopping virtual devices on this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbutils

from ..base.errors import PermanentHostError, TransientDeviceError, TransientHostError, UserError
from ..base.locking import file_lock
from ..base.processes import die_with_parent
from ..base.project import PACKAGE, Project
from ..devices.adb import address_of, ensure_server
from ..envs.debian.trees import make_tree
from ..wanted.devices import AnyDevice, parse_device
from . import board, fault_control, phone
from .network import LOOPBACK, Namespace

START_TIMEOUT_S = 30.0
#: How long a device may take to end after SIGTERM.
END_TIMEOUT_S = 10.0
#: Locks of Debian packages (see cellfarm.envs.debian), so that nothing has to be installed.
_BUSYBOX, _QEMU = "virtual.busybox.txt", "virtual.qemu.txt"


@dataclass(frozen=True)
class Started:
    """A running virtual device: the document for its file in devices/, and its process."""

    document: dict[str, Any]
    process: subprocess.Popen[bytes]

    @property
    def device(self) -> AnyDevice:
        """The device that the document describes."""
        return parse_device(self.document, str(self.document["name"]))


@contextlib.contextmanager
def virtual_phone(
    project: Project,
    name: str,
    port: int = 0,
    storage_mb: int = 0,
    server_port: int | None = None,
) -> Iterator[Started]:
    """A phone behind this user's adb server; ends with the block.

    Args:
        storage_mb: how much it holds; 0: as much as this disk.
        server_port: of the adb server, if not this user's.

    Raises:
        UserError, PermanentHostError, TransientHostError: it cannot be started here.
    """
    with _locked_folder(project, name) as folder, ExitStack() as running:
        busybox, qemu = (
            make_tree(
                (project.locks / lock).read_text(encoding="utf-8"), project.environments, machine
            )
            for lock, machine in ((_BUSYBOX, "aarch64"), (_QEMU, None))
        )
        phone.lay_out(folder / phone.ROOT, busybox / "bin/busybox")
        argv = [
            sys.executable, "-m", "cellfarm.virtual.phone", str(folder),
            str(qemu / "usr/bin/qemu-aarch64-static"), str(port), str(storage_mb),
        ]  # fmt: skip
        process, port = running.enter_context(_running(argv, folder, wait_for_port=True))
        serial = f"127.0.0.1:{port}"
        client = adbutils.AdbClient(port=server_port, socket_timeout=START_TIMEOUT_S)
        try:
            ensure_server(client.host, client.port)
            client.connect(serial, timeout=START_TIMEOUT_S)
        except (adbutils.AdbError, OSError, TransientDeviceError) as error:
            raise TransientHostError(f"no adb server: {error}") from error
        address = address_of(client, serial)
        try:
            yield Started(_document(name, "adb", address, phone.WORK_FOLDER), process)
        finally:
            with contextlib.suppress(adbutils.AdbError, OSError, TransientDeviceError):
                ensure_server(client.host, client.port)
                client.disconnect(serial)


@contextlib.contextmanager
def virtual_board(
    project: Project,
    name: str,
    port: int = 0,
    *,
    network: Namespace = LOOPBACK,
    emulated: bool = True,
) -> Iterator[Started]:
    """A board: an sshd that knows a single key; ends with the block.

    Args:
        network: the network in which it listens.
        emulated: whether it declares itself virtual.

    Raises:
        UserError, PermanentHostError, TransientHostError: it cannot be started here.
    """
    if not Path(board.SSHD).is_file():
        raise UserError("there is no sshd: on Debian or Ubuntu, apt install openssh-server")
    with _locked_folder(project, name) as folder:
        port = port or free_port()
        _configure_sshd(folder, name, network.address, port, emulated)
        argv = [
            *network.prefix, sys.executable, "-m", "cellfarm.virtual.board", str(folder), network.cable,
        ]  # fmt: skip
        with _running(argv, folder) as (process, _):
            _wait_for(network.address, port, process, folder)
            address = {
                "host": network.address,
                "port": port,
                "user": pwd.getpwuid(os.getuid()).pw_name,
                "key_file": str(folder / "user_key"),
                "known_hosts": str(folder / "known_hosts"),
            }
            yield Started(_document(name, "ssh", address, str(folder / "work")), process)


def _configure_sshd(folder: Path, name: str, address: str, port: int, emulated: bool) -> None:
    """Write keys, known_hosts and sshd's configuration to a board's folder."""
    for key in ("host_key", "user_key"):
        if not (folder / key).is_file():
            board.make_key(folder / key, name)
    shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
    host_key = (folder / "host_key.pub").read_text(encoding="utf-8").split()[:2]
    (folder / "known_hosts").write_text(
        f"[{address}]:{port} {' '.join(host_key)}\n", encoding="utf-8"
    )
    # SHLVL: else bash reads this user's .bashrc before every command, which a new board does not have.
    (folder / "sshd_config").write_text(
        f"""ListenAddress {address}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
Subsystem sftp internal-sftp
SetEnv {phone.VIRTUAL}={int(emulated)} SHLVL=1
""",
        encoding="utf-8",
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd requires it


def inflict(project: Project, name: str, fault: str) -> None:
    """Inflict a fault on a running virtual device: see phone.faults_of and board.Board.

    Raises:
        UserError: there is no such device, or it has no such fault.
    """
    fault_control.request_fault(_folder_of(project, name), name, fault)


def _document(
    name: str, transport: str, address: dict[str, Any], work_folder: str
) -> dict[str, Any]:
    return {
        "name": name,
        "transport": transport,
        "address": address,
        "work_folder": work_folder,
        "processors": ["cpu"],
        "labels": ["virtual"],
    }


def _folder_of(project: Project, name: str) -> Path:
    return project.results.absolute() / "virtual" / name


@contextlib.contextmanager
def _locked_folder(project: Project, name: str) -> Iterator[Path]:
    """A device's folder, locked until the block ends.

    Raises:
        UserError: a device of that name runs already.
    """
    folder = _folder_of(project, name)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(file_lock(folder / ".lock", wait=False))
        except BlockingIOError:
            raise UserError(f"{name} runs already: end it, or give another --name") from None
        yield folder


@contextlib.contextmanager
def _running(
    argv: list[str], folder: Path, wait_for_port: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    variables = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=variables,
            start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip
    try:
        assert process.stdout
        port = 0
        if wait_for_port:
            line = process.stdout.readline().decode().strip()
            if not line.isdigit():
                raise PermanentHostError(f"it ended: {_last_line(folder)}")
            port = int(line)
        yield process, port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: str, port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        if process.poll() is not None:
            raise PermanentHostError(f"sshd ended: {_last_line(folder)}")
        if time.monotonic() > deadline:
            raise TransientHostError("sshd does not answer")
        time.sleep(0.05)


def _last_line(folder: Path) -> str:
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no message"
    return last.removeprefix("cellfarm.base.errors.PermanentHostError: ")


def free_port() -> int:
    """A free port of this machine's loopback; it may be taken again at any time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
