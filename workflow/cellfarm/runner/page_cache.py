"""The page cache: how much of an artifact is in it, and evicting the artifact."""

import contextlib
import mmap
import os
import time
from collections.abc import Iterator

_CHUNK_BYTES = 1 << 20


def evict(folder: str) -> None:
    """Evict the folder's files from the page cache; needs no rights beyond reading them.

    Pages that are not on the disk yet are written first, as only clean pages can go. Pages that another
    process has mapped stay, and so do all of a file system in memory: see `resident_share`.
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

    None for an empty folder, and where the system does not answer truly: to a user who neither owns a
    file nor may write it, it calls every page resident. To be called before the library is imported.
    A forked child asks, so that ctypes, which many libraries import, is not loaded when their import
    is timed.
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
            os._exit(0)  # no buffer of the parent may be flushed twice
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
            counts = _resident_pages(path)
        except (OSError, ValueError, ImportError, AttributeError):
            return None
        if counts is None:
            return None
        resident += counts[0]
        pages += counts[1]
    return resident / pages if pages else None


def read_all(folder: str) -> tuple[float, int]:
    """Read the folder's files completely, one after the other.

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
    """(resident, all) pages of a file; None if the system does not answer truly."""
    import ctypes  # its import costs time: only launches that need it pay

    with _opened(path) as file:
        status = os.fstat(file)
        if status.st_size == 0:
            return 0, 0
        if status.st_uid != os.geteuid() and not os.access(path, os.W_OK):
            return None
        libc = ctypes.CDLL(None, use_errno=True)
        pages = -(-status.st_size // mmap.PAGESIZE)
        vector = (ctypes.c_ubyte * pages)()
        # Private and writable, as ctypes takes no address of read-only memory. No page is touched,
        # so mincore sees the file's pages.
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
