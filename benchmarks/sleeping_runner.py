"""A runner that sleeps: what a simulated device does with a launch or a gate.

It takes the place of workflow/cellfarm/runner/__main__.py in the farm of benchmarks.simulated_farm, reads
the same requests and says the same events, but imports and computes nothing: a device's own work is not this
machine's. A launch lasts `samples.seconds` of the protocol, a cold start half as long. Its outputs lie
beside the artifact.

A line of <work folder>/launches.log for each: mode, the agent's process, when it was spawned and when it
ended, in ns of the monotonic clock. Standard library only.
"""

from __future__ import annotations

import time

STARTED_NS = time.monotonic_ns()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

TYPE_CHECKING = False  # typing takes as long to import as all the rest
if TYPE_CHECKING:
    from typing import Any

#: About as long as on a phone, in s.
GATE_S, REFERENCE_S = 0.5, 1.0
LATENCY_MS = 20.0

SPAWNED_NS = int(os.environ["CELLFARM_SPAWNED_NS"])
WORK_FOLDER = sys.argv[0].rpartition("/payloads/")[0]


def main() -> None:
    request = json.load(sys.stdin)
    emit("start", ms=(STARTED_NS - SPAWNED_NS) / 1e6, pid=os.getpid())
    if request["mode"] == "gate":
        gate(request)
    else:
        work(request)
    emit("end")
    line = f"{request['mode']} {os.getppid()} {SPAWNED_NS} {time.monotonic_ns()}\n"
    log = os.open(f"{WORK_FOLDER}/launches.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, line.encode())


def gate(request: dict[str, Any]) -> None:
    if request.get("readings"):
        sleep_until(REFERENCE_S)
        emit(
            "reference", ms=[8.0 + 0.01 * n for n in range(request["readings"])], temperatures_c={}
        )
        return
    sleep_until(GATE_S)
    emit("gate", calibration={"compute_ms": 8.0, "memory_ms": 4.0}, identity="simulated",
         temperatures_c={}, frequency_mhz={}, other_cpu_cores=0.0, battery_percent=None,
         load_1min=0.0, idle_w=None, waited_s=0.0, looks=1, governor=None, exceeded=[])  # fmt: skip


def work(request: dict[str, Any]) -> None:
    """Handle the modes `measure`, `cold` and `quality`; the protocol has no other."""
    emit("page_cache", resident_share=0.0 if request["mode"] == "cold" else 1.0)
    for phase in ("import", "read", "load", "first"):
        emit("phase", name=phase)
        emit("done", name=phase, ms=10.0)
    with open(f"{request['artifact']}/{request['mode']}.npz", "rb") as file:
        outputs = file.read()
    with open(request["outputs"], "wb") as file:
        file.write(outputs)
    emit("outputs")
    seconds = request["samples"]["seconds"]
    sleep_until(seconds / 2 if request["mode"] == "cold" else seconds)
    if request["mode"] == "measure":
        count = request["samples"]["min"]
        # No two samples are the same: equal ones would be refused.
        emit("samples", ms=[LATENCY_MS + 0.001 * (n % 7) for n in range(count)], seconds=seconds)
        emit("resources", cpu_utilisation=1.0, other_cpu_utilisation=0.0)
        emit("after", load_1min=0.0, temperatures_c={}, governor=None)


def sleep_until(seconds: float) -> None:
    """Sleep until this long after the process was spawned."""
    time.sleep(max(0.0, SPAWNED_NS / 1e9 + seconds - time.monotonic()))


def emit(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
