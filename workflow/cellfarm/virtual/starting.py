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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbutils

from ..debian.trees import plant
from ..errors import PermanentHostError, TransientHostError, UserError
from ..processes import die_with_parent
from ..project import PACKAGE, Project
from . import phone

START_TIMEOUT_S = 30.0
#: A phone's socket for faults, in its folder.
CONTROL = "control"
#: Locks of Debian packages (see cellfarm.debian), so that nothing has to be installed here.
_BUSYBOX, _QEMU = "virtual.busybox.txt", "virtual.qemu.txt"
_SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Started:
    """A virtual device that runs: what its file in devices/ says, and its process."""

    document: dict[str, Any]
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def virtual_phone(
    project: Project, name: str, port: int = 0, storage_mb: int = 0
) -> Iterator[Started]:
    """A phone behind this user's adb server; ends with the block.

    Args:
        storage_mb: what it holds; 0: as much as this disk.

    Raises:
        UserError, PermanentHostError, TransientHostError: it cannot be started here.
    """
    folder = _folder(project, name)
    busybox, qemu = (
        plant((project.locks / lock).read_text(encoding="utf-8"), project.environments, machine)
        for lock, machine in ((_BUSYBOX, "aarch64"), (_QEMU, None))
    )
    root = folder / "root"
    phone.lay_out(root, busybox / "bin/busybox")
    argv = [
        sys.executable, "-m", "cellfarm.virtual.phone", str(root),
        str(qemu / "usr/bin/qemu-aarch64-static"), str(port), str(folder / CONTROL), str(storage_mb),
    ]  # fmt: skip
    with _running(argv, folder, wait_for_port=True) as (process, found):
        serial = f"127.0.0.1:{found}"
        client = adbutils.AdbClient(socket_timeout=START_TIMEOUT_S)
        try:
            client.connect(serial, timeout=START_TIMEOUT_S)
        except (adbutils.AdbError, OSError) as error:
            raise TransientHostError(f"no adb server: {error}") from error
        address = {"serial": serial}
        if client.port != 5037:
            address["server_port"] = client.port
        try:
            yield Started(_document(name, "adb", address, phone.WORK_FOLDER), process)
        finally:
            with contextlib.suppress(adbutils.AdbError, OSError):
                client.disconnect(serial)


@contextlib.contextmanager
def virtual_board(project: Project, name: str, port: int = 0) -> Iterator[Started]:
    """A board: an sshd of its own on loopback, which knows one key; ends with the block.

    Raises:
        UserError, PermanentHostError, TransientHostError: it cannot be started here.
    """
    if not Path(_SSHD).is_file():
        raise UserError("there is no sshd: on Debian or Ubuntu, apt install openssh-server")
    folder = _folder(project, name)
    port = port or _free_port()
    for key in ("host_key", "user_key"):
        if not (folder / key).is_file():
            _run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / key)]
            )
    shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
    host_key = (folder / "host_key.pub").read_text(encoding="utf-8").split()[:2]
    (folder / "known_hosts").write_text(
        f"[127.0.0.1]:{port} {' '.join(host_key)}\n", encoding="utf-8"
    )
    (folder / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
SetEnv {phone.VIRTUAL}=1
""",
        encoding="utf-8",
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists
    argv = [_SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with _running(argv, folder) as (process, _):
        _wait_for(port, process, folder)
        address = {
            "host": "127.0.0.1",
            "port": port,
            "user": _user(),
            "key_file": str(folder / "user_key"),
            "known_hosts": str(folder / "known_hosts"),
        }
        yield Started(_document(name, "ssh", address, str(folder / "work")), process)


def inflict(project: Project, name: str, fault: str) -> None:
    """Let something go wrong on a virtual phone that runs; see phone.FAULTS.

    Raises:
        UserError: there is no such phone, or no such fault.
    """
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(START_TIMEOUT_S)
        try:
            control.connect(str(_folder(project, name) / CONTROL))
            control.sendall(f"{fault}\n".encode())
            answer = control.recv(1000).decode().strip()
        except OSError as error:
            raise UserError(f"no virtual phone {name} runs: {error.strerror}") from error
    if answer != "ok":
        raise UserError(answer)


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


def _folder(project: Project, name: str) -> Path:
    folder = project.results / "virtual" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            raise PermanentHostError(f"sshd ended: {_last_line(folder)}")
        if time.monotonic() > deadline:
            raise TransientHostError("sshd does not answer")
        time.sleep(0.05)


def _last_line(folder: Path) -> str:
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("cellfarm.errors.PermanentHostError: ") if lines else "no message"


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise PermanentHostError(
            f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}", argv, done.returncode
        )


def _free_port() -> int:

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
