"""Shared by the tests of all kinds of devices."""

from __future__ import annotations

from cellfarm.devices.transport import Launched, Transport


def shell(transport: Transport, script: str, timeout_s: float = 60) -> tuple[Launched, list[str]]:
    """Run a script on a device; returns how it ended, and its lines."""
    lines: list[str] = []
    launched = transport.run(
        ["sh", "-c", script], stdin=b"", timeout_s=timeout_s, variables=transport.variables,
        on_line=lines.append,
    )  # fmt: skip
    return launched, lines
