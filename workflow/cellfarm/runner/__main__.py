"""The runner: one launch of one cell, in a fresh process on the device.

Reads a JSON request from standard input and writes JSON lines to standard output, one per event.
Imports nothing but the standard library, numpy and the library under test, whose back end is the
module `backend` beside this file. All modules are packed compiled, so that no launch compiles them.
"""

import time

STARTED_NS = time.monotonic_ns()  # before anything else is imported

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402

#: By the same clock; set by the process that started this one.
SPAWNED_NS = int(os.environ["CELLFARM_SPAWNED_NS"])

#: The module of a request: a measure's device half, packed as measure_<name>, or the gate.
MODULE = re.compile(r"measure_[a-z0-9_]+|gate")


def main() -> int:
    # Libraries print to standard output as they like: from here on it is standard error.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: str, **fields: object) -> None:
        events.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
        events.flush()

    request = json.load(sys.stdin)
    request["started_ns"] = STARTED_NS
    emit("start", ms=(STARTED_NS - SPAWNED_NS) / 1e6, pid=os.getpid())
    try:
        if not MODULE.fullmatch(request["module"]):
            raise ValueError(f"no module {request['module']!r}")
        importlib.import_module(request["module"]).run(request, emit)
    except BaseException as error:  # the host must learn of every error
        traceback.print_exc()
        emit("error", kind=type(error).__name__, message=str(error)[:2000])
        return 1
    emit("end")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Some libraries crash on exit, after all work is done and reported.
    os._exit(code)
