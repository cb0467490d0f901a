"""Frames between the host and the agent on a device: a byte of kind, four of length, the content.

Standard library only, as it is shipped to the device.
"""

from __future__ import annotations

import struct

_HEAD = struct.Struct(">cI")
HEAD_BYTES = _HEAD.size

CALL = b"c"  # host: JSON {"name", "arguments"}
DATA = b"d"  # either: bytes that belong to the call
RESULT = b"r"  # agent: JSON, what the call returns; ends it
ERROR = b"x"  # agent: JSON {"type", "message"}; ends the call
OUTPUT = b"o"  # agent: a line of standard output of the command that runs
ALIVE = b"h"  # either: a sign of life

#: A record of a million samples fits; longer ones are a fault.
MAX_FRAME_BYTES = 64 << 20


def frame(kind: bytes, content: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(content)) + content


def head(data: bytes) -> tuple[bytes, int]:
    """(kind, length of the content) of a frame's first bytes.

    Raises:
        ValueError: it is not the start of a frame.
    """
    kind, length = _HEAD.unpack(data)
    if kind not in (CALL, DATA, RESULT, ERROR, OUTPUT, ALIVE) or length > MAX_FRAME_BYTES:
        raise ValueError(f"not a frame: {data!r}")
    return kind, length
