"""Devices: what runs artifacts, and the transports that reach them.

    transport.py    what every transport does
    local.py        this machine
    remote.py       a device at the other end of a link: ssh.py, adb.py
    agent.py        transport `local` on such a device; session.py is its other end
    shell.py        such a device without Python, and so without an agent

Nothing outside this folder knows which transport a device has: `open_device` gives a Transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.project import Project
from .control import choose_cores
from .limits import patience_s, refuse_low_battery, work_folder_mb
from .local import LocalTransport
from .transport import Interpreter, Launched, Transport

__all__ = [
    "Interpreter",
    "Launched",
    "Transport",
    "choose_cores",
    "open_device",
    "patience_s",
    "refuse_low_battery",
]


def open_device(document: Mapping[str, Any], project: Project) -> Transport:
    """The transport of a validated device document (devices/<name>.yaml).

    Args:
        project: a local device's relative work folder stands below its root.
    """
    kind, work_folder = document["transport"], document["work_folder"]
    if kind == "local":
        return LocalTransport(project.root / work_folder)
    # paramiko and adbutils are not for the start of every run
    from .remote import RemoteTransport
    from .shell import ShellTransport

    remote = RemoteTransport if document.get("python", True) else ShellTransport
    limit_mb = work_folder_mb(document)
    if kind == "ssh":
        from .ssh import SshLink

        return remote(SshLink(document["address"], project.root), work_folder, project, limit_mb)
    from .adb import AdbLink

    return remote(AdbLink(document["address"]), work_folder, project, limit_mb)
