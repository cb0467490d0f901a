"""Requirements locks: one fully pinned, hashed file per environment.

A lock is resolved for every platform at once (``uv pip compile --universal``), so that one file
serves the workstation, an arm64 board and CI. One package is special: ``torch``. Its package on
the public index is a CUDA build of several GB; cellfarm uses the CPU build, which comes from another
place (a local wheel, PyTorch's CPU index) and has other hashes on each machine. Its line is
therefore bare (``torch==2.13.0``, no hash, no ``+cpu``), and its CUDA dependencies are dropped.
Everything is installed with ``--no-deps``: the lock alone decides.

A lock of Debian packages is made by cellfarm.envs.debian and has another form.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from packaging.version import InvalidVersion, Version

from ..base.files import write_atomically
from ..libraries import Description
from .debian.resolving import ResolveError, make_lock

MINIMUM_PYTHON = "3.11"
UNHASHED = frozenset({"torch"})
Purpose = Literal["run", "convert"]
PURPOSES: tuple[Purpose, ...] = ("run", "convert")
COMPILE_TIMEOUT_S = 900

_CUDA = re.compile(r"(nvidia|cuda)-.*|triton|pytorch-triton.*")
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")


class LockError(Exception):
    """A lock that cannot be made, with the resolver's own reason."""


def compile_lock(
    requirements: list[str],
    destination: Path,
    uv: Path,
    pip_options: list[str],
    exclude: Sequence[str] = (),
) -> None:
    """Resolve ``requirements`` and write the lock to ``destination``, atomically.

    Args:
        requirements: requirement lines, as in a requirements file.
        destination: the lock; its folder is made.
        uv: the uv executable.
        pip_options: options for ``uv pip compile`` that say where packages come from, such as
            ``["--find-links", "<folder>"]``. They leave no trace in the lock.
        exclude: names of packages that are left out although a dependency declares them, with
            whatever only they need.

    Raises:
        LockError: no solution (uv's reason), or a package that cannot be hashed.
    """
    with tempfile.TemporaryDirectory(prefix="cellfarm-lock-") as folder:
        source = Path(folder, "requirements.in")
        source.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        argv = _compile_argv(source, uv, pip_options)
        if exclude:
            excludes = Path(folder, "excludes.txt")
            excludes.write_text("".join(f"{name}\n" for name in exclude), encoding="utf-8")
            argv += ["--excludes", str(excludes)]
        resolved = _run(argv, folder)
    text = _comment(requirements, exclude) + clean_lock(resolved)
    write_atomically(destination, text, durable=False)


def compile_debian_lock(
    requirements: list[str], destination: Path, exclude: Sequence[str] = ()
) -> None:
    """The same for requirements that are Debian packages, from a mirror of Debian's archive.

    Raises:
        LockError: something is not in the release, or no mirror answers.
    """
    try:
        text = _comment(requirements, exclude) + make_lock(requirements, exclude)
    except (ResolveError, OSError) as error:
        raise LockError(str(error)) from error
    write_atomically(destination, text, durable=False)


def clean_lock(resolved: str) -> str:
    """Turn uv's output into a lock: one bare torch line, no CUDA packages, all else hashed.

    Raises:
        LockError: two versions of torch, or a package without a hash (a path, a URL, a checkout).
    """
    blocks: list[str] = []
    bare: dict[str, str] = {}
    for block in _blocks(resolved):
        match = _PINNED.match(block)
        if match is None:
            raise LockError(f"not a pinned package: {block.splitlines()[0]}")
        name = normalise(match["name"])
        if _CUDA.fullmatch(name):
            continue
        if name in UNHASHED:
            # Per-platform forks ("2.13.0" and "2.13.0+cpu") count as the same release.
            version = match["version"].partition("+")[0]
            if bare.setdefault(name, version) != version:
                raise LockError(f"two versions of {name}: {bare[name]} and {version}")
            continue
        if "--hash=" not in block:
            raise LockError(f"no hash for {match['name']}=={match['version']}")
        blocks.append(block)
    blocks += [f"{name}=={version}" for name, version in bare.items()]
    return "".join(f"{block}\n" for block in sorted(blocks, key=str.lower))


def split_lock(text: str) -> tuple[str, list[str]]:
    """Split a lock into the part that is installed with ``--require-hashes`` and the bare lines.

    Returns:
        The text of the hashed part (may be empty), and the unhashed requirements such as
        ``["torch==2.13.0"]``, which are installed from any source of CPU builds.
    """
    blocks = list(_blocks(text))
    hashed = "".join(f"{block}\n" for block in blocks if "--hash=" in block)
    return hashed, [block for block in blocks if "--hash=" not in block]


def normalise(name: str) -> str:
    """A distribution's name as the index compares it: ``Ruamel_Yaml`` is ``ruamel-yaml``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def environment_requirements(
    library: Description, purpose: Purpose, version: str
) -> tuple[list[str], list[str]]:
    """The requirement lines and excluded names of a library's environment at a version.

    Args:
        version: the library's version. It is filled in for ``{version}``; below the versions in
            ``older``, other packages replace those of the environment.
    """
    replacements: dict[str, list[str]] = {}
    for older in library.older:
        for line in older.packages if _is_below(version, older.below) else ():
            replacements.setdefault(_distribution(line), []).append(line)
    packages: tuple[str, ...] = getattr(library.environments, purpose)
    lines = [line for name in packages for line in replacements.get(_distribution(name), [name])]
    exclude: tuple[str, ...] = getattr(library.exclude, purpose)
    return [line.replace("{version}", version) for line in lines], list(exclude)


def _is_below(version: str, other: str) -> bool:
    try:
        return Version(version) < Version(other)
    except InvalidVersion:  # uv reports it better
        return False


def _distribution(line: str) -> str:
    """The distribution of a requirement: ``Ruamel_Yaml==1.0; python_version < '4'`` -> ``ruamel-yaml``."""
    return normalise(re.split(r"[\[\s;<>=!~]", line, maxsplit=1)[0])


def _compile_argv(source: Path, uv: Path, pip_options: list[str]) -> list[str]:
    return [
        str(uv),
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes"),
        *("--python-version", MINIMUM_PYTHON),
        # The interpreter only helps to read metadata; naming it keeps uv from looking for one.
        *("--python", sys.executable),
        *("--no-annotate", "--no-header", "--no-build"),
        *pip_options,
        str(source),
    ]


def _run(argv: list[str], folder: str) -> str:
    try:
        process = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise LockError(f"cannot run {argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise LockError(f"uv found no solution in {COMPILE_TIMEOUT_S} s") from error
    if process.returncode != 0:
        raise LockError(uv_reason(process.stderr) or f"uv ended with status {process.returncode}")
    return process.stdout


def uv_reason(stderr: str) -> str:
    """uv's explanation as one line, without headings and tree characters."""
    lines = [re.sub(r"^[\s×│├╰└─▶]+", "", line).strip() for line in stderr.splitlines()]
    kept = [re.sub(r"^(error|cause): ", "", line) for line in lines]
    text = " ".join(line for line in kept if line and not line.startswith("warning:"))
    _, because, explanation = text.partition("Because ")
    return because + explanation if because else text


def _blocks(text: str) -> Iterable[str]:
    """Each package with its continuation lines (the hashes), without comments and blank lines."""
    block: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace() and block:
            yield "\n".join(block)
            block = []
        block.append(line.rstrip())
    if block:
        yield "\n".join(block)


def _comment(requirements: Sequence[str], exclude: Sequence[str]) -> str:
    lines = ["Made by cellfarm (locks.py); do not edit. Asked for:"]
    lines += [f"  {line}" for line in requirements]
    if exclude:
        lines += ["Left out:", *(f"  {name}" for name in exclude)]
    return "".join(f"# {line}\n" for line in lines)
