"""The peak of a device with numpy: a matrix product and a copy. It runs on the device.

Compute: a product of two square matrices in single precision, by numpy's BLAS. Bandwidth: a copy of more
than caches hold; as in STREAM, bytes read and bytes written count (McCalpin, "Memory bandwidth and machine
balance in current high performance computers", IEEE TCCA Newsletter, 1995). The fastest of several runs
counts.

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
    first, second = (generator.random((_SIDE, _SIDE), dtype=numpy.float32) for _ in range(2))
    product = numpy.empty_like(first)
    source = numpy.ones(_COPY_BYTES // threads * threads, dtype=numpy.uint8)
    target = numpy.zeros_like(source)
    parts = list(zip(numpy.split(target, threads), numpy.split(source, threads), strict=True))

    def multiply() -> None:
        numpy.matmul(first, second, out=product)

    def copy() -> None:
        # A large copy releases Python's global lock.
        workers = [threading.Thread(target=numpy.copyto, args=part) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    reading = {
        "gflops": 2 * _SIDE**3 / _fastest_s(multiply) / 1e9,
        "gb_s": 2 * source.nbytes / _fastest_s(copy) / 1e9,
        "method": f"numpy {numpy.__version__} ({_blas(numpy)}), float32 product of {_SIDE} x {_SIDE}, "
        f"copy of {_COPY_BYTES >> 20} MiB",
    }
    print(json.dumps(reading))


def _fastest_s(work: Callable[[], None]) -> float:
    work()  # touches the memory, and raises the clock
    times_s: list[float] = []
    while len(times_s) < _LEAST_RUNS or sum(times_s) < _LEAST_S:
        began_ns = time.monotonic_ns()
        work()
        times_s.append((time.monotonic_ns() - began_ns) / 1e9)
    return min(times_s)


def _blas(numpy: Any) -> str:
    """The BLAS that numpy was built with."""
    try:
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (TypeError, KeyError):  # before NumPy 1.25
        return "unknown BLAS"


if __name__ == "__main__":
    main()
