"""The request, inputs and outputs of a native runner; its events are those of the runner.

It is a small program in C++ (see cellfarm.envs.native_building). Its request is lines of text. Its inputs and
outputs are raw values of 4 bytes, sample after sample, with a sample's tensors in the model's order.
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
    """A request as lines `name=value`: dots join nested names, commas separate the values of a list; None has
    no line."""
    return "".join(f"{name}={value}\n" for name, value in _flat(request, "")).encode()


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list) and not any(isinstance(item, Mapping) for item in value):
        yield name, ",".join(map(str, value))
    elif isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in entries:
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, " ".join(str(value).splitlines())


def as_raw(arrays: Mapping[str, np.ndarray], inputs: Sequence[Mapping[str, Any]]) -> bytes:
    """Samples of all inputs as a native runner reads them: float32, or int32 for whole numbers.

    Args:
        arrays: [samples, *shape] for each input.
        inputs: ``name`` of each, in the model's order.
    """
    columns = []
    for entry in inputs:
        array = arrays[entry["name"]]
        dtype = "<i4" if array.dtype.kind in "iu" else "<f4"
        columns.append(array.astype(dtype).reshape(len(array), -1).view(np.uint8))
    return np.concatenate(columns, axis=1).tobytes()


def as_npz(data: bytes, outputs: Sequence[Mapping[str, Any]], single_sample: bool) -> bytes:
    """The float32 outputs of a native runner in the runner's format.

    Data that is not a whole number of samples is returned as it is: whoever reads the outputs reports it.

    Args:
        outputs: ``name`` and ``shape`` of each, in the model's order.
        single_sample: there is one sample, and no axis of samples.
    """
    sizes = [int(np.prod(entry["shape"], dtype=np.int64)) for entry in outputs]
    if not sum(sizes):
        return data
    count, rest = divmod(len(data), _VALUE_BYTES * sum(sizes))
    if not count or rest or (single_sample and count > 1):
        return data
    samples = np.frombuffer(data, "<f4").reshape(count, sum(sizes))
    parts = np.split(samples, np.cumsum(sizes)[:-1], axis=1)
    arrays = {
        entry["name"]: part.reshape(*(() if single_sample else (-1,)), *entry["shape"])
        for entry, part in zip(outputs, parts, strict=True)
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
