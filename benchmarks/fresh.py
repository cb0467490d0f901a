"""Wall time of `make` on a fresh clone with empty caches; with --tests, of `make test` (minutes).

The last commit is cloned into a new folder; HOME and every cache are empty folders beside it. The
variables that say where packages come from (proxies, certificates, pip's and uv's indexes) are kept,
those that name caches or environments are not. Needs the network or a mirror.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from .figures import REPOSITORY, Figure, NotMeasurable, Options
from .processes import VENV_BIN, run

MAKE_TARGET_S = 12 * 60.0
TEST_TARGET_S = 6 * 60.0
TEST_ALONE_TARGET_S = 15 * 60.0
_KEPT_VARIABLES = re.compile(
    r"PATH|LANG|LC_.*|TERM|USER|LOGNAME|SHELL|TZ|(?:https?|no|all|ftp)_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|PIP_.*|UV_.*|NPM_CONFIG_.*|DEBIAN_FRONTEND|CI",
    re.IGNORECASE,
)
_CACHES = re.compile(r".*_CACHE_DIR|.*_CACHE|UV_PROJECT_ENVIRONMENT|UV_.*_DIR", re.IGNORECASE)


def measure(options: Options) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="cellfarm-fresh-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        clone, variables = folder / "clone", _variables(folder)
        commit = clone_checkout(clone)
        print(f"  commit {commit} in {clone}", flush=True)
        # Quick: what shows that the clone and its variables work, without setting anything up.
        make = ["make", *(["help"] if options.quick else [])]
        test = ["make", *(["--dry-run"] if options.quick else []), "test"]
        if options.tests == "alone":
            return [_step(test, clone, variables, TEST_ALONE_TARGET_S)]
        figures = [_step(make, clone, variables, MAKE_TARGET_S)]
        if options.tests == "after":
            figures.append(_step(test, clone, variables, TEST_TARGET_S))
    return figures


def _step(argv: list[str], clone: Path, variables: dict[str, str], target_s: float) -> Figure:
    completed = run(argv, clone, variables, live=True)
    command = " ".join(argv)
    if completed.code != 0:
        raise NotMeasurable(
            f"`{command}` ended with {completed.code} after {completed.wall_s:.0f} s"
        )
    minutes = f"{completed.wall_s / 60:.1f} min"
    return Figure(
        f"wall time of `{command}` on a fresh clone", completed.wall_s, "s", target_s,
        details={"that is": minutes, "CPU": f"{completed.cpu_s:.0f} s"},
    )  # fmt: skip


def clone_checkout(clone: Path) -> str:
    """Clone the last commit; returns its short name."""
    status = _git("status", "--porcelain", folder=REPOSITORY)
    if status:
        count = len(status.splitlines())
        print(f"  note: {count} uncommitted changes here are not in the clone", flush=True)
    _git("clone", "--quiet", "--no-local", str(REPOSITORY), str(clone), folder=REPOSITORY)
    return _git("rev-parse", "--short", "HEAD", folder=clone)


def _git(*arguments: str, folder: Path) -> str:
    completed = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if completed.returncode != 0:
        raise NotMeasurable(f"git {arguments[0]}: {completed.stderr.strip()}")
    return completed.stdout.strip()


def _variables(folder: Path) -> dict[str, str]:
    variables = {
        name: value
        for name, value in os.environ.items()
        if _KEPT_VARIABLES.fullmatch(name) and not _CACHES.fullmatch(name)
    }
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir()
    temporary.mkdir()
    # This checkout's own environment must not help.
    path = [part for part in variables["PATH"].split(":") if Path(part) != VENV_BIN]
    return variables | {"HOME": str(home), "TMPDIR": str(temporary), "PATH": ":".join(path)}
