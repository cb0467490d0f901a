"""Devices: what runs artifacts, and the transports that reach them.

Nothing outside this folder knows which transport a device has: `open_device` gives a Transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .control import choose_cores
from .local import LocalTransport
from .transport import Launched, Transport

__all__ = ["Launched", "Transport", "choose_cores", "open_device"]


def open_device(document: Mapping[str, Any], root: Path) -> Transport:
    """The transport of a validated device document (devices/<name>.yaml).

    Args:
        root: the project; a local device's relative work folder stands below it.
    """
    return LocalTransport(root / document["work_folder"])
