"""The device's side of ADB's wire protocol: messages, streams, flow control.

Source: AOSP, packages/modules/adb, protocol.txt and adb.h. Version 0x01000001: no checksums.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

VERSION = 0x01000001
MAX_DATA_BYTES = 1 << 20
_HEAD = struct.Struct("<6I")
_TOKEN = 1  # kind of an AUTH message


def _command(name: bytes) -> int:
    return int.from_bytes(name, "little")


CNXN, AUTH, OPEN = _command(b"CNXN"), _command(b"AUTH"), _command(b"OPEN")
OKAY, WRTE, CLSE = _command(b"OKAY"), _command(b"WRTE"), _command(b"CLSE")


class Message(NamedTuple):
    command: int
    arg0: int
    arg1: int
    data: bytes


class Closed(Exception):
    """The other end has closed a stream."""


class Stream:
    """A service that the host opened: bytes in and out, with one unconfirmed write at a time."""

    def __init__(self, wire: Wire, local: int, remote: int) -> None:
        self._wire = wire
        self.local, self.remote = local, remote
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._confirmed = asyncio.Event()
        self._closed = False
        self._pending = b""

    async def read(self) -> bytes:
        """The next data; b"" when the host has closed the stream."""
        if self._pending:
            pending, self._pending = self._pending, b""
            return pending
        data = None if self._closed and self._arrived.empty() else await self._arrived.get()
        if data is None:
            return b""
        await self._wire.send(OKAY, self.local, self.remote)
        return data

    async def take(self, count: int) -> bytes:
        """Read exactly `count` bytes.

        Raises:
            Closed: the stream ends earlier.
        """
        while len(self._pending) < count:
            pending, self._pending = self._pending, b""
            data = await self.read()
            if not data:
                raise Closed
            self._pending = pending + data
        data, self._pending = self._pending[:count], self._pending[count:]
        return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA_BYTES):
            if self._closed:
                raise Closed
            self._confirmed.clear()
            part = data[start : start + MAX_DATA_BYTES]
            await self._wire.send(WRTE, self.local, self.remote, part)
            await self._confirmed.wait()
        if self._closed:
            raise Closed

    def arrive(self, data: bytes) -> None:
        self._arrived.put_nowait(data)

    def confirm(self) -> None:
        self._confirmed.set()

    def end(self) -> None:
        self._closed = True
        self._arrived.put_nowait(None)
        self._confirmed.set()


@dataclass
class Faults:
    """The faults of a device.

    Attributes:
        awake: cleared while the device is frozen: it receives messages and answers none.
        authorised: False: nobody has allowed debugging on the phone.
        silent: it accepts connections without a greeting: its adb server calls it offline.
        wires: the open connections.
    """

    awake: asyncio.Event = field(default_factory=asyncio.Event)
    authorised: bool = True
    silent: bool = False
    wires: set[Wire] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.awake.set()

    def cut(self) -> None:
        for wire in list(self.wires):
            wire.cut()


Service = Callable[[Stream], Awaitable[None]]


class Wire:
    """A connection of an adb server.

    Args:
        banner: the device's description, ``device::ro.product.name=...;features=...``.
        service: returns the service of a name such as ``shell,v2,raw:ls``, or None for unknown names.
        faults: the present faults of the device.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        banner: bytes,
        service: Callable[[str], Service | None],
        faults: Faults,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._banner, self._service, self._faults = banner, service, faults
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._next = 1

    async def serve(self) -> None:
        """Serve until the server closes the connection."""
        self._faults.wires.add(self)
        try:
            while True:
                message = await self._receive()
                await self._faults.awake.wait()
                await self._handle(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._faults.wires.discard(self)
            for stream in self._streams.values():
                stream.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._writer.close()

    async def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        head = _HEAD.pack(command, arg0, arg1, len(data), 0, command ^ 0xFFFFFFFF)
        await self._faults.awake.wait()
        async with self._sending:
            self._writer.write(head + data)
            await self._writer.drain()

    def cut(self) -> None:
        """Abort the connection, as a pulled cable does."""
        self._writer.transport.abort()

    async def _receive(self) -> Message:
        command, arg0, arg1, length, _, _ = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
        if length > MAX_DATA_BYTES:
            raise ConnectionError("a message that is too long")
        return Message(command, arg0, arg1, await self._reader.readexactly(length))

    async def _handle(self, message: Message) -> None:
        stream = self._streams.get(message.arg1)
        if message.command in (CNXN, AUTH):
            await self._greet()
        elif message.command == OPEN:
            await self._open(message)
        elif message.command == WRTE and stream:
            stream.arrive(message.data)
        elif message.command == OKAY and stream:
            stream.confirm()
        elif message.command == CLSE and stream:
            stream.end()

    async def _greet(self) -> None:
        if self._faults.silent:
            return
        if self._faults.authorised:
            await self.send(CNXN, VERSION, MAX_DATA_BYTES, self._banner)
        else:
            await self.send(AUTH, _TOKEN, 0, bytes(20))

    async def _open(self, message: Message) -> None:
        name = message.data.rstrip(b"\0").decode(errors="replace")
        serve = self._service(name)
        if serve is None:
            await self.send(CLSE, 0, message.arg0)
            return
        local, self._next = self._next, self._next + 1
        stream = self._streams[local] = Stream(self, local, message.arg0)
        await self.send(OKAY, local, message.arg0)
        task = asyncio.create_task(self._run(serve, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, serve: Service, stream: Stream) -> None:
        try:
            with contextlib.suppress(Closed):
                await serve(stream)
        finally:
            del self._streams[stream.local]
            await self.send(CLSE, stream.local, stream.remote)
