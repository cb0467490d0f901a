"""The page cache: how much of an artifact is in memory, and putting it out of there."""

import contextlib
import mmap
import os
import time
from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20


def evict(folder: str) -> None:
    """Put the folder's files out of the page cache; needs no rights beyond reading them.

    Pages that are not on the disk yet are written first: only clean ones can go. Those that another
    process has mapped stay, and a file system in memory keeps everything; `resident_share` tells.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for path in _files(folder):
        with contextlib.suppress(OSError), _opened(path) as file:
            with contextlib.suppress(OSError):
                os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(folder: str) -> float | None:
    """The share of the folder's pages that are in the page cache, 0 to 1, by mincore(2).

    None if there is nothing to look at, or the system does not tell: it tells only who owns a file
    or may write it, and calls every page of others resident. To be called before the library is
    imported: it looks from a forked child, so that ctypes, which many libraries import, is not
    there already when their import is timed.
    """
    try:
        readable, writable = os.pipe()
        child = os.fork()
    except OSError:
        return None
    if child == 0:
        try:
            os.write(writable, repr(_resident_share(folder)).encode())
        finally:
            os._exit(0)  # nothing of the parent's may be flushed twice
    os.close(writable)
    with open(readable, "rb") as file:
        answer = file.read()
    with contextlib.suppress(OSError):  # SIGCHLD may be ignored
        os.waitpid(child, 0)
    try:
        return float(answer)
    except ValueError:
        return None


def _resident_share(folder: str) -> float | None:
    resident = pages = 0
    for path in _files(folder):
        try:
            found = _resident_pages(path)
        except (OSError, ValueError, ImportError, AttributeError):
            return None
        if found is None:
            return None
        resident += found[0]
        pages += found[1]
    return resident / pages if pages else None


def read_all(folder: str) -> tuple[float, int]:
    """Read the folder's files from beginning to end, one after the other.

    Returns:
        (ms, bytes).

    Raises:
        OSError: a file cannot be read.
    """
    buffer = bytearray(_CHUNK_BYTES)
    size = 0
    began_ns = time.monotonic_ns()
    for path in _files(folder):
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
    return (time.monotonic_ns() - began_ns) / 1e6, size


def _resident_pages(path: str) -> tuple[int, int] | None:
    """(resident, all) pages of a file; None if the system would not say the truth."""
    import ctypes  # not at the top: only launches that ask pay for it

    with _opened(path) as file:
        status = os.fstat(file)
        if status.st_size == 0:
            return 0, 0
        if status.st_uid != os.geteuid() and not os.access(path, os.W_OK):
            return None
        libc = ctypes.CDLL(None, use_errno=True)
        pages = -(-status.st_size // mmap.PAGESIZE)
        vector = (ctypes.c_ubyte * pages)()
        # Private and writable, as ctypes takes the address of nothing that is read-only; no page
        # is touched, so what mincore sees is the file's own.
        mapping = mmap.mmap(
            file, status.st_size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE
        )
        with mapping:
            first = ctypes.c_char.from_buffer(mapping)
            failed = libc.mincore(
                ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(status.st_size), vector
            )
            del first  # a mapping with an exported buffer cannot be closed
        return None if failed else (sum(byte & 1 for byte in vector), pages)


def _files(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path):  # noqa: PTH113
                yield path


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
