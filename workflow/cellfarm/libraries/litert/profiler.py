"""Time per operator in LiteRT, XNNPACK's included, by the profiler of its C interface.

The Python interface has no profiler. The calls and structures are those of litert/c/ in LiteRT 2.3; the
size of events is checked, because another version might change it.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]

_SIGNATURE = ctypes.c_size_t(0)
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_TYPE_BYTES = 256  # more than a LiteRtRankedTensorType has, which begins with the element's type
_DTYPES = {1: "float32", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 10: "float16"}
_BUILTIN, _DELEGATED = 2, 8  # kinds of events: an operator of LiteRT, an operator of XNNPACK
_MAX_EVENTS = 2048  # the profiler drops further ones
_FILLER = 0xA5


class _Event(ctypes.Structure):
    """ProfiledEventData; the memory figures are three words before and three after."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("node", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


def profile(
    artifact: str,
    *,
    processor: str,
    threads: int,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    arrays: list[Any],
    runs: int,
    scratch: str,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    The model is compiled with the options that the Python interface passes on, and profiling.
    Times are in whole microseconds.

    Raises:
        RuntimeError: another processor than the CPU, a call that fails, or a version with other events.
    """
    if processor != "cpu":
        raise RuntimeError("litert: its profiler sees the CPU alone")
    model = _Model(str(backend.model_file(artifact)), threads)
    model.fill(inputs, arrays)
    operators, total_ms = [], []
    for _ in range(runs):
        events, ms = model.run()
        total_ms.append(ms)
        operators.append(
            [model.operator(event) for event in events if event.kind in (_BUILTIN, _DELEGATED)]
        )
    return {"runs": operators, "total_ms": total_ms, "method": "LiteRT C API profiler"}


class _Model:
    """A compiled model with its profiler. It lives as long as the process, so nothing is destroyed."""

    def __init__(self, path: str, threads: int) -> None:
        import ai_edge_litert

        package = Path(str(ai_edge_litert.__file__)).parent
        self._library = ctypes.CDLL(str(package / "libLiteRt.so"))
        self._environment = self._new("CreateEnvironment", 0, None)
        model = self._new("CreateModelFromFile", self._environment, path.encode())
        options = self._new("CreateOptions")
        self._call("SetOptionsHardwareAccelerators", options, _CPU)
        # LiteRT calls this to free the options' memory, which Python keeps alive instead.
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda memory: None)
        self._option_texts: list[Any] = []
        self._add(options, "xnnpack", f"num_threads = {threads}\n")
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        self._compiled = self._new("CreateCompiledModel", self._environment, model, options)
        self._profiler = self._new("CompiledModelGetProfiler", self._compiled)
        self._signature = self._new("GetModelSignature", model, _SIGNATURE)
        self._subgraph = self._new("GetSignatureSubgraph", self._signature)
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")
        self._arguments = (
            self._compiled, _SIGNATURE,
            ctypes.c_size_t(len(self._inputs)), _array([tensor["buffer"] for tensor in self._inputs]),
            ctypes.c_size_t(len(self._outputs)), _array([tensor["buffer"] for tensor in self._outputs]),
        )  # fmt: skip
        self._nodes: dict[int, str | None] = {}

    def fill(self, inputs: list[dict[str, Any]], arrays: list[Any]) -> None:
        """Write the inputs, cast to the file's types."""
        import numpy as np

        tensors = {tensor["name"]: tensor for tensor in self._inputs}
        for name, array in zip(backend.in_order(list(tensors), inputs), arrays, strict=True):
            tensor = tensors[name]
            data = np.ascontiguousarray(array, dtype=_DTYPES[tensor["element"]])
            if data.nbytes != tensor["bytes"]:
                raise RuntimeError(f"litert: input {name!r} has another size than the model's")
            memory = ctypes.c_void_p()
            self._call("LockTensorBuffer", tensor["buffer"], ctypes.byref(memory), _WRITE)
            ctypes.memmove(memory, data.ctypes.data, data.nbytes)
            self._call("UnlockTensorBuffer", tensor["buffer"])

    def run(self) -> tuple[Any, float]:
        """Events and wall time in ms of one inference."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        start_ns = time.monotonic_ns()
        self._call("RunCompiledModel", *self._arguments)
        ms = (time.monotonic_ns() - start_ns) / 1e6
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if count.value >= _MAX_EVENTS:
            raise RuntimeError(f"litert: more events than its profiler's {_MAX_EVENTS}")
        # Memory for twice the events is filled, to see whether LiteRT writes events of this size.
        event_size = ctypes.sizeof(_Event)
        size = count.value * event_size
        memory = ctypes.create_string_buffer(2 * size)
        ctypes.memset(memory, _FILLER, 2 * size)
        self._call("GetProfilerEvents", self._profiler, count, memory)
        filler = bytes([_FILLER])
        is_beyond_unused = memory.raw[size:] == filler * size
        is_last_unused = memory.raw[size - event_size : size] == filler * event_size
        if not is_beyond_unused or is_last_unused:
            raise RuntimeError("litert: the profiler's events have another size than in 2.3")
        return (_Event * count.value).from_buffer(memory), ms  # the array keeps the memory alive

    def operator(self, event: _Event) -> dict[str, Any]:
        name = (event.tag or b"").decode(errors="replace")
        if event.kind == _DELEGATED:
            return _operator(name, name.partition(" (")[0], None, event.elapsed_us)
        if event.node not in self._nodes:
            self._nodes[event.node] = self._result(event.node)
        return _operator(name, name, self._nodes[event.node], event.elapsed_us)

    def _result(self, position: int) -> str | None:
        """The name of the first tensor that an operator of the file computes."""
        operator, tensor, name = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_char_p()
        library = self._library
        succeeded = (
            library.LiteRtGetSubgraphOp(
                self._subgraph, ctypes.c_size_t(position), ctypes.byref(operator)
            ) == 0
            and library.LiteRtGetOpOutput(operator, ctypes.c_size_t(0), ctypes.byref(tensor)) == 0
            and library.LiteRtGetTensorName(tensor, ctypes.byref(name)) == 0
        )  # fmt: skip
        return (name.value or b"").decode(errors="replace") or None if succeeded else None

    def _buffers(self, side: str) -> list[dict[str, Any]]:
        """The tensors of a side, Input or Output, each with a new buffer."""
        count = ctypes.c_size_t()
        self._call(f"GetNumSignature{side}s", self._signature, ctypes.byref(count))
        tensors = []
        for number in range(count.value):
            position = ctypes.c_size_t(number)
            name, size = ctypes.c_char_p(), ctypes.c_size_t()
            kind = (ctypes.c_uint8 * _TYPE_BYTES)()
            self._call(f"GetSignature{side}Name", self._signature, position, ctypes.byref(name))
            tensor = self._new(f"GetSignature{side}TensorByIndex", self._signature, position)
            self._call("GetRankedTensorType", tensor, kind)
            needs = self._new(
                f"GetCompiledModel{side}BufferRequirements", self._compiled, _SIGNATURE, position
            )
            buffer = self._new(
                "CreateManagedTensorBufferFromRequirements", self._environment, kind, needs
            )
            self._call("GetTensorBufferPackedSize", buffer, ctypes.byref(size))
            tensors.append(
                {
                    "name": (name.value or b"").decode(),
                    "buffer": buffer,
                    "bytes": size.value,
                    "element": ctypes.c_int.from_buffer(kind).value,
                }
            )
        return tensors

    def _add(self, options: Any, name: str, text: str) -> None:
        memory = ctypes.create_string_buffer(text.encode())
        self._option_texts.append(memory)
        option = self._new("CreateOpaqueOptions", name.encode(), memory, self._free)
        self._call("AddOpaqueOptions", options, option)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"litert: LiteRt{name} failed with {status}")

    def _new(self, name: str, *arguments: Any) -> Any:
        """The handle that a call returns through its last argument."""
        handle = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(handle))
        return handle


def _array(handles: list[Any]) -> Any:
    return (ctypes.c_void_p * len(handles))(*handles)


def _operator(name: str, kind: str, node: str | None, elapsed_us: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "node": node, "ms": elapsed_us / 1e3}
