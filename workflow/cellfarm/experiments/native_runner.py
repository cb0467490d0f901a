"""What a native runner takes and gives, beside the events that are those of the runner.

It is a small program in C++ (see cellfarm.envs.native_building): its request is lines of text, its inputs and
outputs are raw values of 4 bytes, sample after sample, and in each the tensors in the model's order.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

#: The file with the inputs, in the folder that is put on the device.
SAMPLES = "samples"
_VALUE_BYTES = 4


def as_lines(request: Mapping[str, Any]) -> bytes:
    """A request of the runner as lines `name=value`: dots in the names of what is nested, commas between the
    values of a list; what is None has no line."""
    return "".join(f"{name}={value}\n" for name, value in _flat(request, "")).encode()


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list) and not any(isinstance(one, Mapping) for one in value):
        yield name, ",".join(map(str, value))
    elif isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, one in entries:
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, " ".join(str(value).splitlines())


def as_raw(arrays: Mapping[str, np.ndarray], inputs: Sequence[Mapping[str, Any]]) -> bytes:
    """Samples of all inputs as a native runner reads them: float32, and int32 of whole numbers.

    Args:
        arrays: [samples, *shape] for each input.
        inputs: ``name`` of each, in the model's order.
    """
    found = []
    for entry in inputs:
        array = arrays[entry["name"]]
        dtype = "<i4" if array.dtype.kind in "iu" else "<f4"
        found.append(array.astype(dtype).reshape(len(array), -1).view(np.uint8))
    return np.concatenate(found, axis=1).tobytes()


def as_npz(data: bytes, outputs: Sequence[Mapping[str, Any]], one_sample: bool) -> bytes:
    """The outputs that a native runner wrote, float32, as the runner writes them.

    What is not a number of whole samples stays as it is: it is found unreadable where outputs are read.

    Args:
        outputs: ``name`` and ``shape`` of each, in the model's order.
        one_sample: without an axis of samples.
    """
    sizes = [int(np.prod(entry["shape"], dtype=np.int64)) for entry in outputs]
    if not data or len(data) % (_VALUE_BYTES * sum(sizes)) or (
        one_sample and len(data) != _VALUE_BYTES * sum(sizes)
    ):  # fmt: skip
        return data
    samples = np.frombuffer(data, "<f4").reshape(-1, sum(sizes))
    parts = np.split(samples, np.cumsum(sizes)[:-1], axis=1)
    arrays = {
        entry["name"]: part.reshape(*(() if one_sample else (-1,)), *entry["shape"])
        for entry, part in zip(outputs, parts, strict=True)
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
