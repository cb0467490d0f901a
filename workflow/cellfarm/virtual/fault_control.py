"""The socket by which `cellfarm virtual fault` inflicts faults on a virtual device."""

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
    """The device's end. Changes to the folder, as a socket's path has at most 107 bytes."""
    os.chdir(folder)
    Path(NAME).unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX)
    control.bind(NAME)
    return control


async def serve_faults(
    control: socket.socket, faults: Mapping[str, Callable[[], None]]
) -> asyncio.AbstractServer:
    """Inflict the requested faults: each request is a line with a name, and gets a line as answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    return await asyncio.start_unix_server(handle, sock=control)


def request_fault(folder: Path, name: str, fault: str) -> None:
    """Inflict a fault on the virtual device `name`, which runs in this folder.

    Raises:
        UserError: the device does not run, or has no such fault.
    """
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(ANSWER_TIMEOUT_S)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                control.connect(f"/proc/self/fd/{descriptor}/{NAME}")  # a short path
            finally:
                os.close(descriptor)
            control.sendall(f"{fault}\n".encode())
            answer = control.recv(1000).decode().strip()
        except OSError as error:
            raise UserError(f"no virtual device {name} runs: {error.strerror or error}") from error
    if answer != _OK:
        raise UserError(answer or f"{name} ended")
