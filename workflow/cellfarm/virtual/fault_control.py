"""The socket by which `cellfarm virtual fault` lets something go wrong on a virtual device."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from ..base.errors import UserError

#: The socket, in the device's folder.
NAME = "control"
ANSWER_TIMEOUT_S = 30.0
_OK = "ok"


def listen(folder: Path) -> socket.socket:
    """The device's end. Makes the folder this process's own: a socket's path has 107 bytes at most."""
    os.chdir(folder)
    Path(NAME).unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX)
    control.bind(NAME)
    return control


async def obey(
    control: socket.socket, faults: Mapping[str, Callable[[], None]]
) -> asyncio.AbstractServer:
    """Do what is asked for, a line for each fault's name; each is answered by a line."""

    async def commanded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            name = line.decode(errors="replace").strip()
            answer = _OK
            if name in faults:
                faults[name]()
            else:
                answer = f"this device has no fault {name!r}; it has {', '.join(sorted(faults))}"
            writer.write(f"{answer}\n".encode())
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(commanded, sock=control)


def tell(folder: Path, name: str, fault: str) -> None:
    """Let something go wrong on the virtual device `name`, whose folder that is.

    Raises:
        UserError: it does not run, or has no such fault.
    """
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(ANSWER_TIMEOUT_S)
        try:
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # The folder by a short name.
                control.connect(f"/proc/self/fd/{opened}/{NAME}")
            finally:
                os.close(opened)
            control.sendall(f"{fault}\n".encode())
            answer = control.recv(1000).decode().strip()
        except OSError as error:
            raise UserError(f"no virtual device {name} runs: {error.strerror or error}") from error
    if answer != _OK:
        raise UserError(answer or f"{name} ended")
