"""Fetches the packages of a lock from the first mirror that has them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from ...base.digests import file_digest
from .mirrors import Missing, download, mirrors, worse
from .resolving import Locked

PARALLEL = 6  # connections: the archive's files are small


class Archive:
    """The mirrors of a release; a mirror that does not answer is not asked again.

    Args:
        moment: when the lock was made, for packages that mirrors have replaced since.
    """

    def __init__(self, moment: str) -> None:
        self._mirrors = mirrors(moment)
        self._silent: dict[str, OSError] = {}
        self._lock = Lock()

    def fetch(self, packages: list[Locked], folder: Path) -> list[Path]:
        """Fetch the packages into `folder`, unless they are there; returns their files in order.

        Raises:
            Missing: every mirror answers, and none has a package as it was locked.
            OSError: a mirror that may have a missing package does not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(PARALLEL) as pool:
            jobs = [pool.submit(self._fetch, package, folder) for package in packages]
            try:
                return [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, package: Locked, folder: Path) -> Path:
        destination = folder / f"{package.sha256}.deb"
        if destination.is_file() and file_digest(destination) == package.sha256:
            return destination
        problem: OSError | None = None
        for mirror in self._mirrors:
            with self._lock:
                known = self._silent.get(mirror)
            try:
                if known is not None:
                    raise known
                address = f"{mirror}/{package.filename}"
                download(address, destination, package.size, package.sha256)
                return destination
            except Missing as error:
                problem = worse(problem, error)
            except OSError as error:
                with self._lock:
                    self._silent[mirror] = error
                problem = worse(problem, error)
        assert problem is not None
        raise problem
