"""The services of a virtual phone: shell commands, and files (services shell and sync).

Source: AOSP, packages/modules/adb, shell_protocol.h and file_sync_protocol.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from .adb_wire import Closed, Stream

FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 0, 1, 2, 3, 4
_CHUNK_BYTES = 1 << 16
_SYNC_HEAD = struct.Struct("<4sI")
_STAT_V2 = struct.Struct("<4sIQQIIIIQqqq")
_STAT_V1 = struct.Struct("<4sIII")


def service(name: str, variables: Mapping[str, str]) -> Callable[[Stream], Awaitable[None]] | None:
    """The service of this name; None if the phone has none."""
    kind, _, command = name.partition(":")
    options = kind.split(",")
    if options[0] in ("shell", "exec"):
        v2 = "v2" in options
        return lambda stream: _shell(stream, command, variables, v2)
    if kind == "sync":
        return _sync
    return None


async def _shell(stream: Stream, command: str, variables: Mapping[str, str], v2: bool) -> None:
    argv = ["/system/bin/sh", "-c", command] if command else ["/system/bin/sh"]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if v2 else asyncio.subprocess.STDOUT,
        env=dict(variables),
        start_new_session=True,
        cwd="/",
    )
    writing = asyncio.Lock()

    async def pump(source: asyncio.StreamReader | None, kind: int) -> None:
        while source and (data := await source.read(_CHUNK_BYTES)):
            async with writing:
                await stream.write(_packet(kind, data) if v2 else data)

    feeding = asyncio.create_task(_feed(stream, process, v2))
    try:
        await asyncio.gather(pump(process.stdout, _STDOUT), pump(process.stderr, _STDERR))
        code = await process.wait()
        if v2:
            await stream.write(_packet(_EXIT, bytes([code if code >= 0 else 128 - code])))
    finally:
        feeding.cancel()
        _hang_up(process)


def _hang_up(process: asyncio.subprocess.Process) -> None:
    """As adbd does: signal the command and close its pipes; processes that it started may live on.

    Source: AOSP, packages/modules/adb/daemon/shell_service.cpp.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGHUP)
    for descriptor in range(3):
        pipe = process._transport.get_pipe_transport(descriptor)  # type: ignore[attr-defined]
        if pipe is not None:
            pipe.close()


async def _feed(stream: Stream, process: asyncio.subprocess.Process, v2: bool) -> None:
    assert process.stdin
    with contextlib.suppress(Closed, ConnectionError):
        while True:
            if not v2:
                data = await stream.read()
                if not data:
                    break
            else:
                head = await stream.take(5)
                data = await stream.take(int.from_bytes(head[1:], "little"))
                if head[0] == _CLOSE_STDIN:
                    break
                if head[0] != _STDIN:
                    continue
            process.stdin.write(data)
            await process.stdin.drain()
    with contextlib.suppress(ConnectionError):
        process.stdin.close()


def _packet(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(4, "little") + data


async def _sync(stream: Stream) -> None:
    while True:
        kind, length = _SYNC_HEAD.unpack(await stream.take(_SYNC_HEAD.size))
        if kind == b"QUIT":
            return
        name = (await stream.take(length)).decode(errors="surrogateescape")
        if kind in (b"STAT", b"STA2", b"LST2"):
            await stream.write(_stat(kind, name))
        elif kind in (b"LIST", b"LIS2"):
            await _list(stream, kind, name)
        elif kind == b"SEND":
            await _receive(stream, name)
        elif kind == b"RECV":
            await _send(stream, name)
        else:
            await stream.write(_failure(f"unknown request {kind!r}"))
            return


def _stat(kind: bytes, name: str) -> bytes:
    try:
        status = os.stat(name) if kind == b"STA2" else os.lstat(name)
    except OSError as error:
        if kind == b"STAT":
            return _STAT_V1.pack(kind, 0, 0, 0)
        return _STAT_V2.pack(kind, error.errno or 1, *[0] * 10)
    if kind == b"STAT":
        return _STAT_V1.pack(kind, *_fields_v1(status))
    return _STAT_V2.pack(kind, 0, *_fields_v2(status))


def _fields_v1(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_size, int(status.st_mtime)


def _fields_v2(status: os.stat_result) -> tuple[int, ...]:
    times = (int(status.st_atime), int(status.st_mtime), int(status.st_ctime))
    return (
        status.st_dev, status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
        status.st_size, *times,
    )  # fmt: skip


async def _list(stream: Stream, kind: bytes, name: str) -> None:
    entry = b"DNT2" if kind == b"LIS2" else b"DENT"
    with contextlib.suppress(OSError):
        for child in sorted(Path(name).iterdir()):
            status = child.lstat()
            encoded = os.fsencode(child.name)
            if kind == b"LIS2":
                head = _STAT_V2.pack(entry, 0, *_fields_v2(status))
            else:
                head = _STAT_V1.pack(entry, *_fields_v1(status))
            await stream.write(head + struct.pack("<I", len(encoded)) + encoded)
    end_bytes = 76 if kind == b"LIS2" else 20
    await stream.write(b"DONE".ljust(end_bytes, b"\0"))


async def _receive(stream: Stream, name: str) -> None:
    """Receive a file: `path,mode`, then chunks, then its date."""
    path, _, mode = name.rpartition(",")
    problem: OSError | None = None
    temporary = f"{path}.pushing"
    file = None
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = Path(temporary).open("wb")  # noqa: SIM115 (filled by many messages)
    except OSError as error:
        problem = error
    try:
        while True:
            kind, length = _SYNC_HEAD.unpack(await stream.take(_SYNC_HEAD.size))
            if kind == b"DONE":
                break
            if kind != b"DATA":
                raise Closed
            data = await stream.take(length)
            if file and problem is None:
                try:
                    file.write(data)
                except OSError as error:
                    problem = error
        if file and problem is None:
            file.close()
            Path(temporary).chmod(stat.S_IMODE(int(mode or "0")) | 0o600)
            os.utime(temporary, (length, length))
            os.replace(temporary, path)
            await stream.write(_SYNC_HEAD.pack(b"OKAY", 0))
        else:
            assert problem
            await stream.write(_failure(f"couldn't create file: {problem.strerror}"))
    finally:
        if file:
            with contextlib.suppress(OSError):
                file.close()
        with contextlib.suppress(OSError):
            Path(temporary).unlink()


async def _send(stream: Stream, name: str) -> None:
    try:
        with open(name, "rb") as file:
            while data := file.read(_CHUNK_BYTES):
                await stream.write(_SYNC_HEAD.pack(b"DATA", len(data)) + data)
        await stream.write(_SYNC_HEAD.pack(b"DONE", 0))
    except OSError as error:
        await stream.write(_failure(f"couldn't open file: {error.strerror}"))


def _failure(text: str) -> bytes:
    encoded = text.encode()
    return _SYNC_HEAD.pack(b"FAIL", len(encoded)) + encoded
