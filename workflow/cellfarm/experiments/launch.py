"""One launch: a fresh process of the runner for one cell, and its record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..analysis.steady import classify
from ..base.cells import Cell
from ..devices import Launched, Transport, choose_cores
from ..measures.launches import ACCURACY, GATE, MEASURE, PROFILE, QUALITY
from ..measures.operators.profile import read_profile
from ..measures.quality.comparison import Comparison, Quality
from ..measures.quality.heldout import assess
from ..measures.quality.verification import compare, read_arrays
from ..wanted.protocols import Protocol
from .deployed import Deployed, Setting
from .events import Record
from .native_runner import as_lines, as_npz
from .vendor_launch import run_tool


def cores_of(protocol: Protocol, facts: Mapping[str, Any], threads: int) -> list[int] | None:
    """The cores for a launch with so many threads; None: the system chooses."""
    if protocol.affinity != "big_first":
        return None
    return choose_cores(
        facts.get("clusters"), threads, facts.get("allowed_cores"), facts.get("siblings") or ()
    )


def launch(
    setting: Setting,
    deployed: Deployed,
    cell: Cell,
    *,
    mode: str,
    measure: str,
    measure_request: Mapping[str, Any],
    cores: Sequence[int] | None,
    scratch: str,
    idle_w: float | None = None,
) -> dict[str, Any]:
    """Run one launch and return its record, also if it failed.

    Args:
        mode: see cellfarm.measures.launches.
        measure: the measure whose device half runs.
        measure_request: the request to that half (see Host.request).
        cores: the cores to run on; None leaves the choice to the system.
        scratch: a name in the device's work folder for what the runner writes.
        idle_w: the power of the idle device, if it has a meter.

    Returns:
        {"mode", "status", "reason", "phases": {name: ms}, "warmup_ms", "warm_ms", "steady",
         "resources", "conditions", "library_version", "actual", "emulated", "comparison", "quality",
         "compression", "accuracy", "profile", "log"}, as far as the mode has them.
    """
    transport, protocol = setting.transport, setting.protocol
    outputs = f"{scratch}.npz"
    inputs = _inputs(deployed, mode)
    request = {
        "module": f"measure_{measure}",
        "mode": mode,
        "artifact": transport.resolve(deployed.artifact),
        "inputs": transport.resolve(inputs) if inputs else None,
        "outputs": transport.resolve(outputs),
        "processor": cell.processor,
        "threads": cell.threads,
        "model": {name: deployed.description[name] for name in ("inputs", "outputs")},
        "cores": list(cores) if cores else None,
        "interval_ms": protocol.conditions.interval_ms,
        "idle_w": idle_w,
        **measure_request,
    }
    if mode == ACCURACY and deployed.pictures:
        request["pictures"] = dict(deployed.pictures.facts)
    record = Record(mode)
    started_at = time.time()
    try:
        if deployed.tool is None:
            launched = run_runner(setting, deployed, request, record.take)
            data = transport.read(outputs) if record.has_outputs else None
            if deployed.native and data is not None:
                single_sample = mode not in (QUALITY, ACCURACY)
                data = as_npz(data, deployed.description["outputs"], single_sample)
        else:
            variables = _variables(transport, deployed.variables)
            launched, data = run_tool(setting, deployed, request, record, variables, scratch)
    finally:
        transport.remove(outputs)
    document = record.finish(launched.code, launched.timed_out, protocol.launch_timeout_s)
    document["started_at"] = round(started_at, 3)
    document["asked_cores"] = request["cores"]
    if mode == MEASURE:
        _split(document)
    else:
        del document["samples_ms"]
    if data is not None and mode == QUALITY:
        document["quality"] = _assess(data, deployed).as_dict()
        if deployed.compression:
            document["compression"] = deployed.compression.as_dict()
    elif data is not None and mode == ACCURACY and deployed.pictures:
        output = deployed.description["outputs"][0]["name"]
        document["accuracy"] = deployed.pictures.read(data, output)
    elif data is not None:
        document["comparison"] = _compare(data, deployed).as_dict()
    if mode == PROFILE and document["status"] == "ok":
        _add_profile(document, record.profile, deployed)
    if document["status"] != "ok":
        document["log"] = launched.log[-8000:]
    return document


def _inputs(deployed: Deployed, mode: str) -> str:
    return {QUALITY: deployed.heldout, ACCURACY: deployed.labelled}.get(mode, deployed.inputs)


def run_runner(
    setting: Setting,
    deployed: Deployed,
    request: Mapping[str, Any],
    on_line: Callable[[str], None],
    timeout_s: float | None = None,
) -> Launched:
    """Run the payload's runner with a request, or the native runner; gates are always the payload's."""
    transport = setting.transport
    argv = [*deployed.python.argv, transport.resolve(deployed.payload)]
    stdin = json.dumps(request).encode()
    if deployed.native and request["mode"] != GATE:
        argv, stdin = [transport.resolve(deployed.native)], as_lines(request)
    return transport.run(
        argv,
        stdin=stdin,
        timeout_s=timeout_s or setting.protocol.launch_timeout_s,
        variables=_variables(transport, {**deployed.python.variables, **deployed.variables}),
        on_line=on_line,
        keep_open=[setting.lock],
    )


def _split(document: dict[str, Any]) -> None:
    """Split the samples into the warm-up and the steady part."""
    samples = document.pop("samples_ms")
    warm_from = 0
    if document["status"] == "ok" and samples:
        steady = classify(samples)
        warm_from = steady.warm_from
        document["steady"] = steady.kind
    document["warmup_ms"], document["warm_ms"] = samples[:warm_from], samples[warm_from:]


def _add_profile(
    document: dict[str, Any], profile: Mapping[str, Any] | None, deployed: Deployed
) -> None:
    try:
        assert profile is not None and deployed.vocabulary is not None
        document["profile"] = read_profile(profile, deployed.vocabulary).as_dict()
    except ValueError as error:
        document |= {"status": "failed", "reason": f"the profile cannot be read: {error}"}


def _compare(data: bytes, deployed: Deployed) -> Comparison:
    try:
        return compare(
            read_arrays(data), deployed.reference, deployed.classes, deployed.input_arrays
        )
    except ValueError as error:
        return Comparison(problem=str(error))


def _assess(data: bytes, deployed: Deployed) -> Quality:
    try:
        return assess(read_arrays(data), deployed.heldout_reference, deployed.classes)
    except ValueError as error:
        return Quality(problem=str(error))


def _variables(transport: Transport, extra: Mapping[str, str]) -> dict[str, str]:
    """All variables of a launch: a stray OMP_NUM_THREADS of the user's must not change results."""
    return {**transport.variables, "PYTHONDONTWRITEBYTECODE": "1", **extra}
