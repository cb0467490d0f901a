"""A link whose device is a folder of this machine: commands are processes with pipes.

It replaces SSH and ADB where a test concerns both alike. It can be cut: every
process's pipes close at once, as when a cable is pulled.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cellfarm.base.errors import TransientDeviceError
from cellfarm.devices.link import Channel


class PipeChannel:
    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.cut = False

    def send(self, data: bytes, timeout_s: float) -> None:
        assert self.process.stdin
        if self.cut:
            raise TransientDeviceError("cut")
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise TransientDeviceError("the connection is lost") from error

    def receive(self, timeout_s: float) -> bytes | None:
        assert self.process.stdout
        deadline = time.monotonic() + timeout_s
        while True:
            if self.cut:
                raise TransientDeviceError("cut")
            wait_s = min(0.1, max(0.0, deadline - time.monotonic()))
            if select.select([self.process.stdout], [], [], wait_s)[0]:
                return os.read(self.process.stdout.fileno(), 1 << 16)
            if time.monotonic() >= deadline:
                return None

    def finish(self) -> None:
        assert self.process.stdin
        if not self.cut:
            self.process.stdin.close()

    def ended(self) -> tuple[int | None, bytes]:
        assert self.process.stderr
        return self.process.wait(10), self.process.stderr.read()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            with contextlib.suppress(OSError):
                stream.close()

    def pull(self) -> None:
        """Cut the connection: the command sees the end of its input, the host an error."""
        self.cut = True
        assert self.process.stdin
        with contextlib.suppress(OSError):
            self.process.stdin.close()


class PipeLink:
    def __init__(self) -> None:
        self.channels: list[PipeChannel] = []
        self.pushed: list[str] = []
        self.is_up = True

    def open(self, argv: Sequence[str]) -> Channel:
        if not self.is_up:
            raise TransientDeviceError("the device cannot be reached")
        self.channels.append(PipeChannel(argv))
        return self.channels[-1]

    def push(self, source: Path, destination: str) -> None:
        if not self.is_up:
            raise TransientDeviceError("the device cannot be reached")
        shutil.copyfile(source, destination)
        self.pushed.append(destination)

    def close(self) -> None:
        pass

    def pull(self) -> None:
        for channel in self.channels:
            channel.pull()
