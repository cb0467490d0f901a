"""A small fixed load that shows how fast the device is at the moment, independent of any library.

Compute: BLAKE2b of a fixed buffer. It keeps a core's units busy, as inference does. No processor has
instructions for it, as many have for SHA-256: that left the core half idle and did not show that two
virtual processors shared a core (docs/how-numbers-are-made.md). Memory: a copy that is larger than
most caches. Both release Python's global lock, so threads truly run in parallel.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
import threading
import time

#: Raised when the load changes: figures of different loads are never compared.
VERSION = 1
_BUFFER = 1 << 18
_HASHED = 16  # buffers: about 8 ms on a server's core
_COPY_BYTES = 8 << 20
_COPIES = 4  # 3 to 5 ms
#: While the clock still rises, each warm-up block is faster than the previous one.
_SETTLED = 0.97
_MAX_WARMUP = 40


def identity() -> str:
    """What the figures depend on besides the device; only figures of equal identity are comparable."""
    libc = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        libc = os.confstr("CS_GNU_LIBC_VERSION")  # whose memmove copies
    parts = [
        f"load {VERSION}",
        f"{sys.implementation.name} {' '.join(sys.version.split())}",
        libc or "unknown libc",
    ]
    return ", ".join(parts)


def calibrate(threads: int, cores: list[int] | None = None) -> dict[str, float]:
    """Run the load in parallel threads, each on its own core where possible.

    Args:
        threads: at least 1.
        cores: to run on; None: those allowed to the process, highest numbers first.

    Returns:
        compute_ms, memory_ms: the slowest thread's CPU time. It shows a lower clock, a core shared
        with another virtual processor, and a full memory bus; not other processes on the core,
        which the load gate watches.
    """
    chosen = _choose_cores(threads, cores)
    loads = _loads(threads)
    barrier = threading.Barrier(threads)
    times_ms: list[tuple[float, float]] = []

    def work(number: int) -> None:
        if chosen:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {chosen[number]})  # 0: this thread
        load = loads[number]
        load.warm_up()
        barrier.wait()
        compute_ms = _cpu_ms(load.compute)
        barrier.wait()
        times_ms.append((compute_ms, _cpu_ms(load.copy)))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    compute_ms, memory_ms = map(max, zip(*times_ms, strict=True))
    return {"compute_ms": compute_ms, "memory_ms": memory_ms}


class _Load:
    """One thread's buffers; made once, as the first touch costs more than the copies."""

    def __init__(self, source: "_Memory") -> None:
        self._text = bytes(range(256)) * (_BUFFER // 256)
        self._source = source
        self._target = _Memory()

    def warm_up(self) -> None:
        last_ms = _cpu_ms(self._hash)
        for _ in range(_MAX_WARMUP):
            now_ms = _cpu_ms(self._hash)
            if now_ms > _SETTLED * last_ms:
                break
            last_ms = now_ms

    def compute(self) -> None:
        for _ in range(_HASHED):
            self._hash()

    def copy(self) -> None:
        for _ in range(_COPIES):
            ctypes.memmove(self._target.address, self._source.address, _COPY_BYTES)

    def _hash(self) -> None:
        hashlib.blake2b(self._text).digest()


class _Memory:
    """Memory written once beforehand, so that no copy waits for pages."""

    def __init__(self) -> None:
        self._bytes = bytearray(b"\x5a") * _COPY_BYTES
        self._array = (ctypes.c_char * _COPY_BYTES).from_buffer(self._bytes)  # keeps it in place
        self.address = ctypes.addressof(self._array)


@functools.cache
def _loads(threads: int) -> list[_Load]:
    source = _Memory()
    return [_Load(source) for _ in range(threads)]


def _choose_cores(threads: int, cores: list[int] | None) -> list[int]:
    """A core for each thread; none if there are too few."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = cores or sorted(os.sched_getaffinity(0), reverse=True)
    return allowed[:threads] if len(allowed) >= threads else []


def _cpu_ms(work: object) -> float:
    began_ns = time.thread_time_ns()
    work()  # type: ignore[operator]
    return (time.thread_time_ns() - began_ns) / 1e6
