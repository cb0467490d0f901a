"""A small fixed load that tells how fast the device is just now, whatever library is measured.

Compute: BLAKE2b of a fixed buffer. It keeps a core's units busy, as inference does, and no
processor has instructions for it: SHA-256 has them on many, leaves the core half idle there, and did
not notice that two virtual processors shared one core (docs/how-numbers-are-made.md). Memory: a copy
that is larger than most caches. Both let go of Python's global lock, so threads truly run at once.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
import threading
import time

#: To be raised when the load changes: figures of different loads are never compared.
VERSION = 1
_BUFFER = 1 << 18
_HASHED = 16  # buffers: about 8 ms on a server's core
_COPY_BYTES = 8 << 20
_COPIES = 4  # 3 to 5 ms
#: A clock that is still rising makes each warm-up block quicker than the one before.
_SETTLED = 0.97
_MAX_WARMUP = 40


def identity() -> str:
    """What the figures depend on besides the device: they are comparable only if it is equal."""
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
    """Run the load in this many threads at once, each on a core of its own where that is allowed.

    Args:
        threads: at least 1.
        cores: to run on; None: those that the process may use, highest numbers first.

    Returns:
        compute_ms, memory_ms: the slowest thread's CPU time. Time in which other processes had the
        core is not in it: the load gate watches them. A lower clock, a core that is shared with
        another virtual processor, and a full memory bus are.
    """
    places = _places(threads, cores)
    loads = _loads(threads)
    barrier = threading.Barrier(threads)
    found: list[tuple[float, float]] = []

    def work(number: int) -> None:
        if places:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {places[number]})  # 0: this thread
        load = loads[number]
        load.warm_up()
        barrier.wait()
        compute_ms = _cpu_ms(load.compute)
        barrier.wait()
        found.append((compute_ms, _cpu_ms(load.copy)))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"compute_ms": max(one for one, _ in found), "memory_ms": max(two for _, two in found)}


class _Load:
    """One thread's buffers; made once, as their first touch costs more than the copies."""

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
    """Memory that is there: written once, so that no copy waits for pages."""

    def __init__(self) -> None:
        self._bytes = bytearray(b"\x5a") * _COPY_BYTES
        self._array = (ctypes.c_char * _COPY_BYTES).from_buffer(self._bytes)  # keeps it in place
        self.address = ctypes.addressof(self._array)


@functools.cache
def _loads(threads: int) -> list[_Load]:
    source = _Memory()
    return [_Load(source) for _ in range(threads)]


def _places(threads: int, cores: list[int] | None) -> list[int]:
    """A core for each thread; none if there are too few."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = cores or sorted(os.sched_getaffinity(0), reverse=True)
    return allowed[:threads] if len(allowed) >= threads else []


def _cpu_ms(work: object) -> float:
    began_ns = time.thread_time_ns()
    work()  # type: ignore[operator]
    return (time.thread_time_ns() - began_ns) / 1e6
