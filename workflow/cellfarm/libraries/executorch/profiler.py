"""Time per operator in ExecuTorch, XNNPACK's included, from its event tracer (ETDump)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]

_SIZE_PREFIX = 4  # bytes; the file begins with its own length
_RUN = "Execute"
_NATIVE, _CALL, _DELEGATE = "native_call_", "OPERATOR_CALL", "DELEGATE_CALL"
# Fields of the schema that is in the wheel, executorch/devtools/etdump/etdump_schema_flatcc.fbs:
# tables by the order of their fields.
_ETDUMP_RUNS = 1
_RUN_NAME, _RUN_EVENTS = 0, 3
_EVENT_PROFILE = 0
_NAME, _CHAIN, _INSTRUCTION, _DELEGATED, _START_NS, _END_NS = 0, 1, 2, 4, 6, 7


def profile(
    artifact: str,
    *,
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    The program is loaded as for a measurement, with its event tracer on. A delegate's own operators
    replace the call of the delegate; XNNPACK's clock has microseconds.

    Raises:
        RuntimeError: as `backend.Session`, or the trace does not hold `runs` runs.
    """
    session = backend.Session(artifact, **settings)
    session._method = session._program = None
    session._program = session._library._load_program(
        str(Path(artifact) / "model.pte"), enable_etdump=True
    )
    session._method = session._program.load_method(backend._METHOD)
    session.set_inputs(arrays)
    total_ms = []
    for _ in range(runs):
        start_ns = time.monotonic_ns()
        session.invoke()
        total_ms.append((time.monotonic_ns() - start_ns) / 1e6)
    trace = Path(scratch) / "trace.etdp"
    session._program.write_etdump_result_to_file(str(trace))
    operators = [_operators(events) for events in _runs(trace.read_bytes())]
    if len(operators) != runs:
        raise RuntimeError(f"executorch: {len(operators)} runs in the trace of {runs}")
    return {"runs": operators, "total_ms": total_ms, "method": "ExecuTorch ETDump"}


def _operators(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operators of one run, from its events in the order in which they ended."""
    operators: list[dict[str, Any]] = []
    native = ""  # the kernel within the operator call that ends next
    delegated: set[tuple[int, int]] = set()
    for event in events:
        name, place = event["name"], (event["chain"], event["instruction"])
        ms = (event["end_ns"] - event["start_ns"]) / 1e6
        if event["delegated"]:
            delegated.add(place)
            full = event["delegated"]
            operators.append(_operator(full, full.partition(" #")[0].partition(" (")[0], ms))
        elif name.startswith(_NATIVE):
            native = name.removeprefix(_NATIVE)
        elif name == _CALL:
            operators.append(_operator(native or _CALL, (native or _CALL).partition(".")[0], ms))
            native = ""
        elif name == _DELEGATE and place not in delegated:
            operators.append(_operator(_DELEGATE, _DELEGATE, ms))
    return operators


def _operator(name: str, kind: str, ms: float) -> dict[str, Any]:
    # The program does not say which nodes an operator is made of; only the export's record does.
    return {"name": name, "type": kind, "node": None, "ms": ms}


def _runs(data: bytes) -> Iterator[list[dict[str, Any]]]:
    """The profiling events of each inference.

    The flatbuffers package reads them: ExecuTorch's own reader starts a compiler and imports packages that
    a device does not have.
    """
    from flatbuffers import encode, packer
    from flatbuffers.table import Table

    root = Table(data, _SIZE_PREFIX + encode.Get(packer.uoffset, data, _SIZE_PREFIX))
    for run in _tables(root, _ETDUMP_RUNS):
        if _text(run, _RUN_NAME) != _RUN:
            continue  # loading
        events = []
        for event in _tables(run, _RUN_EVENTS):
            for table in _table(event, _EVENT_PROFILE):
                events.append(
                    {
                        "name": _text(table, _NAME),
                        "chain": _number(table, _CHAIN, "Int32Flags", 0),
                        "instruction": _number(table, _INSTRUCTION, "Int32Flags", -1),
                        "delegated": _text(table, _DELEGATED),
                        "start_ns": _number(table, _START_NS, "Uint64Flags", 0),
                        "end_ns": _number(table, _END_NS, "Uint64Flags", 0),
                    }
                )
        yield events


def _offset(table: Any, field: int) -> int:
    return int(table.Offset(4 + 2 * field))  # 0: not there


def _number(table: Any, field: int, kind: str, default: int) -> int:
    from flatbuffers import number_types

    offset = _offset(table, field)
    return int(table.Get(getattr(number_types, kind), table.Pos + offset)) if offset else default


def _text(table: Any, field: int) -> str:
    offset = _offset(table, field)
    return table.String(table.Pos + offset).decode() if offset else ""


def _table(table: Any, field: int) -> Iterator[Any]:
    """The table in a field, if there is one."""
    from flatbuffers.table import Table

    offset = _offset(table, field)
    if offset:
        yield Table(table.Bytes, table.Indirect(table.Pos + offset))


def _tables(table: Any, field: int) -> Iterator[Any]:
    from flatbuffers.table import Table

    offset = _offset(table, field)
    if offset:
        start = table.Vector(offset)
        for position in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * position))
