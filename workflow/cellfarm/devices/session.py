"""A session: the host's end of an agent on a device."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..base.errors import PermanentDeviceError, TransientDeviceError
from .agent import ALIVE_INTERVAL_S, SILENCE_S
from .framing import ALIVE, CALL, DATA, ERROR, HEAD_BYTES, OUTPUT, RESULT, frame, head
from .link import Link

_ERRORS = {"transient": TransientDeviceError, "permanent": PermanentDeviceError}


class Session:
    """Calls to an agent, one after the other.

    Attributes:
        lost: nothing more can be called; a new session is needed.

    Args:
        link: closed with a session that is lost, as it may be half dead.
        argv: the command that starts the agent on the device.
    """

    def __init__(self, link: Link, argv: Sequence[str]) -> None:
        self._link = link
        self._channel = link.open(argv)
        self._argv = argv
        self._pending = bytearray()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self.lost = False
        threading.Thread(target=self._send_alive, daemon=True).start()

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        timeout_s: float,
        data: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> tuple[Any, bytes]:
        """Call the agent; returns its result and the data that comes with it.

        Args:
            timeout_s: for the whole call.
            data: bytes that follow the call.
            on_output: called with each output line of a command that the agent runs.

        Raises:
            TransientDeviceError: from the device, or the connection is lost (then `lost` is set).
            PermanentDeviceError: from the device.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._send(frame(CALL, json.dumps({"name": name, "arguments": arguments}).encode()))
            if data is not None:
                self._send(frame(DATA, data))
            return self._answer(name, deadline, on_output)
        except (TransientDeviceError, PermanentDeviceError):
            raise
        except BaseException:
            # Ctrl-C, or `on_output` raised: the agent's answer would be taken for that of the next call.
            self._lose(f"'{name}' was broken off")
            raise

    def _answer(
        self, name: str, deadline: float, on_output: Callable[[str], None] | None
    ) -> tuple[Any, bytes]:
        received = b""
        while True:
            kind, content = self._next(deadline, name)
            if kind == DATA:
                received = content
            elif kind == OUTPUT and on_output:
                on_output(content.decode(errors="replace"))
            elif kind == RESULT:
                return _document(content), received
            elif kind == ERROR:
                document = _document(content)
                error = _ERRORS.get(document.get("type"), PermanentDeviceError)
                raise error(str(document.get("message"))[:4000])

    def close(self) -> None:
        """End the agent and all that it started."""
        self._closed.set()
        with contextlib.suppress(TransientDeviceError):
            self._channel.finish()
        self._channel.close()

    def _next(self, deadline: float, name: str) -> tuple[bytes, bytes]:
        while len(self._pending) < HEAD_BYTES:
            self._receive(deadline, name)
        try:
            kind, length = head(bytes(self._pending[:HEAD_BYTES]))
        except ValueError as error:
            raise self._lose(f"the device's agent sends nonsense: {error}") from None
        end = HEAD_BYTES + length
        while len(self._pending) < end:
            self._receive(deadline, name)
        content = bytes(self._pending[HEAD_BYTES:end])
        del self._pending[:end]
        return kind, content

    def _receive(self, deadline: float, name: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._lose(f"the device did not finish '{name}' in time")
        try:
            chunk = self._channel.receive(min(left, SILENCE_S))
        except TransientDeviceError as error:
            raise self._lose(str(error)) from error
        if chunk is None:
            if left > SILENCE_S:
                raise self._lose(f"the device said nothing for {SILENCE_S:g} s")
            return
        if not chunk:
            code, log = self._channel.ended()
            lines = log.decode(errors="replace").strip().splitlines()
            ended = "" if code is None else f" with {code}"
            last = f": {lines[-1][:400]}" if lines else ""
            raise self._lose(f"the device's agent ended{ended}{last}")
        self._pending += chunk

    def _lose(self, reason: str) -> TransientDeviceError:
        self.lost = True
        self._closed.set()
        self._channel.close()
        self._link.close()
        return TransientDeviceError(reason, self._argv)

    def _send(self, data: bytes) -> None:
        try:
            with self._writing:
                self._channel.send(data, SILENCE_S)
        except TransientDeviceError as error:
            raise self._lose(str(error)) from error

    def _send_alive(self) -> None:
        while not self._closed.wait(ALIVE_INTERVAL_S):
            try:
                with self._writing:
                    self._channel.send(frame(ALIVE), SILENCE_S)
            except TransientDeviceError:
                # After a frame sent in part no other can follow. The caller notices the loss.
                self._channel.close()
                return


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise PermanentDeviceError("the device's agent answers with what is no JSON") from None
