"""How much a device reaches with numpy: a matrix product and a copy. Put on the device, and run there.

Compute: a product of two square matrices in single precision, by numpy's BLAS. Bandwidth: a copy of more
than caches hold, counted as STREAM does, what is read and what is written (McCalpin, "Memory bandwidth
and machine balance in current high performance computers", IEEE TCCA Newsletter, 1995). Of several runs
the fastest counts: a peak is what nothing disturbed.

Reads {"threads", "cores"} as JSON from standard input; the number of threads of the BLAS must be in the
environment, as it is read at numpy's import. Prints {"gflops", "gb_s", "method"}.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_SIDE = 1024
_COPY_BYTES = 1 << 27
_LEAST_RUNS = 3
_LEAST_S = 0.3


def main() -> None:
    request = json.load(sys.stdin)
    if request["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    import numpy

    threads = request["threads"]
    generator = numpy.random.default_rng(0)
    one, two = (generator.random((_SIDE, _SIDE), dtype=numpy.float32) for _ in range(2))
    product = numpy.empty_like(one)
    source = numpy.ones(_COPY_BYTES // threads * threads, dtype=numpy.uint8)
    target = numpy.zeros_like(source)
    parts = list(zip(numpy.split(target, threads), numpy.split(source, threads), strict=True))

    def multiply() -> None:
        numpy.matmul(one, two, out=product)

    def copy() -> None:
        # A large copy lets go of Python's global lock.
        workers = [threading.Thread(target=numpy.copyto, args=part) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    found = {
        "gflops": 2 * _SIDE**3 / _fastest_s(multiply) / 1e9,
        "gb_s": 2 * source.nbytes / _fastest_s(copy) / 1e9,
        "method": f"numpy {numpy.__version__} ({_blas(numpy)}), float32 product of {_SIDE} x {_SIDE}, "
        f"copy of {_COPY_BYTES >> 20} MiB",
    }
    print(json.dumps(found))


def _fastest_s(work: Callable[[], None]) -> float:
    work()  # touches the memory, and brings the clock up
    times_s: list[float] = []
    while len(times_s) < _LEAST_RUNS or sum(times_s) < _LEAST_S:
        began_ns = time.monotonic_ns()
        work()
        times_s.append((time.monotonic_ns() - began_ns) / 1e9)
    return min(times_s)


def _blas(numpy: Any) -> str:
    """The BLAS that numpy was built with."""
    try:
        found = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except (TypeError, KeyError):  # before NumPy 1.25
        return "unknown BLAS"


if __name__ == "__main__":
    main()
