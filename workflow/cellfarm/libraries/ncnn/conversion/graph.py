"""ncnn's two files as a list of layers, each with its parameters and the bytes of its weights."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARAM = "model.ncnn.param"
WEIGHTS = "model.ncnn.bin"
_MAGIC = "7767517"

_address = ctypes.pythonapi.PyCapsule_GetPointer
_address.restype = ctypes.c_void_p
_address.argtypes = [ctypes.py_object, ctypes.c_char_p]


@dataclass
class Layer:
    """One line of a ``.param`` file, with its part of the ``.bin`` file.

    `params` are the numbered parameters as text; array n has the number -23300 - n.
    """

    kind: str
    name: str
    bottoms: list[str]
    tops: list[str]
    params: dict[int, str]
    data: bytes = b""

    def integer(self, number: int, default: int = 0) -> int:
        """A parameter that is a whole number."""
        return int(self.params.get(number, default))


def read(folder: Path) -> list[Layer]:
    """The layers in ``folder``, in their order.

    ncnn knows how many bytes belong to a layer: each layer loads its own weights.

    Raises:
        RuntimeError: the installed ncnn does not load the files.
    """
    import ncnn

    lines = (folder / PARAM).read_text(encoding="utf-8").splitlines()
    if lines[0].strip() != _MAGIC:
        raise RuntimeError(f"{PARAM} is no ncnn file of the version {_MAGIC}")
    layers = [_parse(line) for line in lines[2:] if line.strip()]
    weights = (folder / WEIGHTS).read_bytes()

    class Reader(ncnn.DataReader):  # type: ignore[misc]
        position = 0

        def read(self, buffer: Any, size: int) -> int:
            part = weights[self.position : self.position + size]
            ctypes.memmove(_address(buffer, None), part, len(part))
            self.position += len(part)
            return len(part)

    net = ncnn.Net()
    if net.load_param(str(folder / PARAM)) != 0:
        raise RuntimeError(f"ncnn does not load {PARAM}")
    reader = Reader()
    source = ncnn.ModelBinFromDataReader(reader)
    for layer, loaded in zip(layers, net.layers(), strict=True):
        begin = reader.position
        if loaded.load_model(source) != 0:
            raise RuntimeError(f"ncnn does not load the weights of {layer.kind} {layer.name}")
        layer.data = weights[begin : reader.position]
    if reader.position != len(weights):
        raise RuntimeError(f"{WEIGHTS}: ncnn reads {reader.position} of {len(weights)} bytes")
    return layers


def write(layers: Sequence[Layer], folder: Path) -> None:
    """Write both files into ``folder``."""
    blobs = {top for layer in layers for top in layer.tops}
    lines = [_MAGIC, f"{len(layers)} {len(blobs)}"]
    for layer in layers:
        counts = f"{len(layer.bottoms)} {len(layer.tops)}"
        params = [f"{number}={value}" for number, value in layer.params.items()]
        fields = [layer.kind.ljust(24), layer.name.ljust(24), counts]
        lines.append(" ".join([*fields, *layer.bottoms, *layer.tops, *params]))
    (folder / PARAM).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(b"".join(layer.data for layer in layers))


def _parse(line: str) -> Layer:
    kind, name, bottoms, tops, *rest = line.split()
    middle, end = int(bottoms), int(bottoms) + int(tops)
    params = dict(text.split("=", 1) for text in rest[end:])
    return Layer(
        kind, name, rest[:middle], rest[middle:end], {int(n): value for n, value in params.items()}
    )
