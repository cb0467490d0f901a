"""The measured peak of a device: the bounds of the roofline (see cellfarm.analysis.roofline).

No key depends on it. It is measured by the device's Python and the numpy of a library's run environment, so
it is a lower bound of what the hardware can do, and is presented as such.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..base.digests import code_digest, digest
from ..base.files import read_object, write_atomically
from ..base.untrusted import number, text
from ..devices.facts import fingerprint
from .deployed import Deployed, Setting
from .launch import cores_of, run_runner
from .patience import Patience

LOAD = Path(__file__).with_name("peak_load.py")
#: The best reading of so many experiments counts: the first may have been disturbed.
ENOUGH = 3
TIMEOUT_S = 60.0
#: The variables that set a BLAS's number of threads.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def measure_missing(
    path: Path,
    setting: Setting,
    facts: Mapping[str, Any],
    deployed: Mapping[int, Deployed],
    patience: Patience,
    note: Callable[[str], None],
) -> None:
    """Measure the peaks of a device that are not known well enough yet.

    Args:
        path: the device's file of peaks.
        deployed: a cell for each number of threads: its Python has numpy.
        note: called with what could not be measured.

    Raises:
        TransientDeviceError, PermanentDeviceError: of the device.
        OSError: the file cannot be written.
    """
    for threads in missing(path, facts, deployed):
        cores = cores_of(setting.protocol, facts, threads)
        reading = patience(partial(measure, setting, deployed[threads], threads, cores))
        if reading:
            add(path, facts, threads, reading)
        else:
            note(f"what the device reaches with {threads} threads at most is not known")


def missing(path: Path, facts: Mapping[str, Any], threads: Iterable[int]) -> list[int]:
    """The numbers of threads whose peak is not known well enough yet."""
    if facts.get("emulated"):
        return []
    known = _read(path, facts)
    return [n for n in sorted(set(threads)) if known.get(str(n), {}).get("readings", 0) < ENOUGH]


def measure(
    setting: Setting, deployed: Deployed, threads: int, cores: Sequence[int] | None
) -> dict[str, Any] | None:
    """One reading: {"gflops", "gb_s", "method"}; None if the device gives none."""
    name = f"payloads/peak-{code_digest(LOAD)}.py"
    setting.transport.put(LOAD, name)
    variables = {**deployed.variables, **dict.fromkeys(_THREADS, str(threads))}
    load = dataclasses.replace(deployed, payload=name, variables=variables)
    lines: list[str] = []
    request = {"threads": threads, "cores": list(cores) if cores else None}
    run_runner(setting, load, request, lines.append, TIMEOUT_S)
    return _parse(lines)


def add(path: Path, facts: Mapping[str, Any], threads: int, reading: Mapping[str, Any]) -> None:
    """Keep a reading of a device if it is better than the earlier ones.

    Raises:
        OSError: it could not be written.
    """
    known = _read(path, facts)
    old = known.get(str(threads), {})
    known[str(threads)] = {
        "gflops": max(reading["gflops"], old.get("gflops", 0.0)),
        "gb_s": max(reading["gb_s"], old.get("gb_s", 0.0)),
        "method": reading["method"],
        "readings": old.get("readings", 0) + 1,
    }
    document = {"fingerprint": _identity(facts), "threads": known}
    write_atomically(path, json.dumps(document, indent=1) + "\n")


def with_peak(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """A device's facts with `peak`: number of threads -> {"gflops", "gb_s", "method"}, where known."""
    known = _read(path, facts)
    return {**facts, "peak": known} if known else dict(facts)


def _read(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    document = read_object(path) or {}
    if document.get("fingerprint") != _identity(facts):
        return {}  # another system on the same device is another device
    return dict(document["threads"])


def _identity(facts: Mapping[str, Any]) -> str:
    return digest(fingerprint(facts))


def _parse(lines: Sequence[str]) -> dict[str, Any] | None:
    try:
        reading = json.loads(lines[-1])
        gflops, gb_s = number(reading["gflops"]), number(reading["gb_s"])
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not gflops or not gb_s or min(gflops, gb_s) <= 0:
        return None
    return {"gflops": gflops, "gb_s": gb_s, "method": text(reading.get("method", ""), 200)}
