"""Devices: what runs artifacts, and the transports that reach them.

    transport.py    the interface of every transport
    local.py        this machine
    remote.py       a device at the other end of a link: ssh.py, adb.py
    agent.py        transport `local` on such a device; session.py is the host's end
    shell.py        such a device without Python, and so without an agent

Nothing outside this folder knows which transport a device has: `open_device` returns a Transport.
"""

from __future__ import annotations

from ..base.project import Project
from ..wanted.devices import AnyDevice, LocalDevice, SshDevice
from .control import choose_cores
from .limits import patience_s, refuse_low_battery, work_folder_mb
from .link import Link
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


def open_device(device: AnyDevice, project: Project) -> Transport:
    """The transport of a device.

    Args:
        project: a local device's relative work folder is below its root.
    """
    if isinstance(device, LocalDevice):
        return LocalTransport(project.root / device.work_folder)
    # Imported only when needed: paramiko and adbutils are slow to import.
    from .remote import RemoteTransport
    from .shell import ShellTransport

    remote = RemoteTransport if device.python else ShellTransport
    link: Link
    if isinstance(device, SshDevice):
        from .ssh import SshLink

        link = SshLink(device.address, project.root)
    else:
        from .adb import AdbLink

        link = AdbLink(device.address)
    return remote(link, device.work_folder, project, work_folder_mb(device))
