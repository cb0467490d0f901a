"""The files beside an ONNX file that hold weights of it (external data): their bytes count into keys.

What names them is read from the file itself, as Protocol Buffers write it: a plan is made often, files are
large, and nothing else here needs ONNX. https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath

#: Of each message of onnx.proto the fields that lead to tensors.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1  # of a tensor
_KEY, _VALUE = 1, 2  # of an entry of its external data
_WIDTHS = {1: 8, 5: 4}  # bytes of a fixed number, by wire type


def data_files(file: Path) -> dict[str, Path]:
    """The files that hold weights of an ONNX file: as it calls them -> where.

    Raises:
        ValueError: it names one that is not there, or not in its folder; the message says it.
        OSError: the file cannot be read.
    """
    return {location: _beside(file, location) for location in locations(file)}


def locations(file: Path) -> list[str]:
    """What an ONNX file calls the files that hold weights of it, each once.

    None for what is no ONNX: whoever reads the model says so.

    Raises:
        OSError: the file cannot be read.
    """
    if file.stat().st_size == 0:
        return []
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        try:
            return sorted(set(_walk(data, range(len(data)), "model")))
        except (IndexError, ValueError, RecursionError):
            return []


def _beside(file: Path, location: str) -> Path:
    path = file.parent / location
    problem = f"{file.name} keeps weights in {location!r}"
    within = PurePosixPath(location)
    if within.is_absolute() or ".." in within.parts:
        raise ValueError(f"{problem}, outside of its folder")
    if not path.is_file():
        raise ValueError(f"{problem}, which is not there; it belongs beside it")
    # onnx, which reads it later, refuses every link as well.
    if path.is_symlink() or not path.resolve().is_relative_to(file.parent.resolve()):
        raise ValueError(f"{problem}, which is a link: put a copy there")
    return path


def _walk(data: mmap, place: range, message: str) -> Iterator[str]:
    """The locations in the message that stands at this place."""
    if message == "tensor":
        yield from _of_tensor(data, place)
        return
    for number, value in _read(data, place):
        inner = _FIELDS[message].get(number)
        if inner and isinstance(value, range):
            yield from _walk(data, value, inner)


def _of_tensor(data: mmap, place: range) -> Iterator[str]:
    fields = list(_read(data, place))
    if (_DATA_LOCATION, _EXTERNAL) not in fields:
        return
    for number, value in fields:
        if number == _EXTERNAL_DATA and isinstance(value, range):
            entry = {
                key: data[at.start : at.stop]
                for key, at in _read(data, value)
                if isinstance(at, range)
            }
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()


def _read(data: mmap, place: range) -> Iterator[tuple[int, int | range]]:
    """The fields of a message: number, and the value, or where it stands.

    Raises:
        ValueError, IndexError: it is not well formed.
    """
    position = place.start
    while position < place.stop:
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        size, position = _varint(data, position) if kind == 2 else (_WIDTHS.get(kind), position)
        if size is None or position + size > place.stop:
            raise ValueError("no message of Protocol Buffers")
        yield number, range(position, position + size)
        position += size


def _varint(data: mmap, position: int) -> tuple[int, int]:
    """A number and what follows it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
