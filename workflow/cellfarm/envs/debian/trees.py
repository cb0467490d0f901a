"""A folder with all packages of a lock, and the Python in it.

Two locks of the same packages share one folder. An environment of a library is then one small script,
`bin/python`, that starts the folder's Python with the folder's own C library.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from ...base.digests import digest
from ...base.errors import PermanentHostError, TransientHostError
from ...base.locking import file_lock
from . import ARCHITECTURES, architecture
from .fetching import Archive
from .mirrors import VARIABLE, Missing
from .resolving import Locked, read_lock
from .unpacking import PackageError, unpack

#: Where Debian keeps libraries: the multiarch name of each architecture, and its dynamic linker.
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_LINKERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
PYTHON = "usr/bin/python3.*"

# The host's libraries are not used: their cache is not read, and every folder of libraries is named.
# `${0%/*}` is the script's folder, so that a checkout can be moved.
_SCRIPT = """\
#!/bin/sh
# Made by cellfarm: the Python of Debian packages, with their own C library.
tree="${{0%/*}}/{tree}"
exec "$tree/{linker}" --inhibit-cache --library-path "{libraries}" \\
    "$tree/{python}" "$@"
"""


def make_tree(lock: str, environments: Path, machine: str | None = None) -> Path:
    """The folder of a lock's packages below the folder of environments, made unless it is there.

    Args:
        machine: the architecture as in `uname -m`; None: this machine's.

    Raises:
        PermanentHostError: an architecture that the lock lacks, or packages that no mirror has.
        TransientHostError: no mirror answers, or the disk is full.
    """
    packages, moment = _packages(lock, ARCHITECTURES.get(machine) if machine else architecture())
    folder = environments / f"debian-{digest([package.sha256 for package in packages])[:12]}"
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return folder
        downloads = folder.with_name(f"{folder.name}.downloads")
        unfinished = folder.with_name(f"{folder.name}.growing")
        total_mb = sum(package.size for package in packages) / 1e6
        print(f"Fetching {len(packages)} Debian packages ({total_mb:.0f} MB)", file=sys.stderr)
        try:
            fetched = Archive(moment).fetch(packages, downloads)
            shutil.rmtree(unfinished, ignore_errors=True)
            for file in fetched:
                unpack(file, unfinished)
        except (Missing, PackageError) as error:
            raise PermanentHostError(f"environment cannot be installed: {error}") from error
        except OSError as error:
            hint = f"; {VARIABLE} names another mirror"
            raise TransientHostError(f"Debian packages cannot be had: {error}{hint}") from error
        unfinished.rename(folder)
        shutil.rmtree(downloads)
    return folder


def python_script(tree: Path, environment: Path) -> str:
    """The text of `bin/python` of an environment that uses the tree.

    Raises:
        PermanentHostError: there is no Python among the packages.
    """
    name = architecture()
    assert name is not None
    pythons = _pythons(tree)
    if not pythons:
        raise PermanentHostError("environment cannot be installed: no Python among its packages")
    return _SCRIPT.format(
        tree=os.path.relpath(tree, environment / "bin"),
        linker=f"lib/{_TRIPLETS[name]}/{_LINKERS[name]}",
        libraries=_library_path("$tree", tree, _TRIPLETS[name]),
        python=pythons[0],
    )


#: The parts of a tree that a Python on a device needs, and in them what no runner imports.
_LEAN = ("lib/{triplet}", "usr/lib/{triplet}", "usr/lib/python3*", "usr/bin/python3.[0-9]*")
_LEFT_OUT = re.compile(
    r"/(?:test|tests|idlelib|lib2to3|ensurepip|pydoc_data|turtledemo|tkinter|distutils)(?:/|$)"
    r"|/(?:gconv|engines-3|ossl-modules|perl5?|audit|girepository-1\.0)(?:/|$)|\.a$"
)


def copy_lean(tree: Path, destination: Path, machine: str) -> None:
    """Copy what a device's Python needs of a tree; links are resolved, as some devices' storage has none."""
    triplet = _TRIPLETS[ARCHITECTURES[machine]]
    for pattern in _LEAN:
        for part in sorted(tree.glob(pattern.format(triplet=triplet))):
            for path in [part, *sorted(part.rglob("*"))]:
                relative = path.relative_to(tree)
                if not path.is_file() or _LEFT_OUT.search(f"/{relative.as_posix()}"):
                    continue
                target = destination / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def device_python(folder: str, packages: Path, machine: str) -> list[str]:
    """The command that starts the Python of a lean copy in `folder` on a device."""
    name = ARCHITECTURES[machine]
    triplet = _TRIPLETS[name]
    (python,) = _pythons(packages)
    return [
        f"{folder}/lib/{triplet}/{_LINKERS[name]}", "--inhibit-cache", "--library-path",
        _library_path(folder, packages, triplet), f"{folder}/{python}",
    ]  # fmt: skip


def _pythons(tree: Path) -> list[str]:
    """The interpreters in a tree, by their paths in it."""
    paths = (path for path in sorted(tree.glob(PYTHON)) if path.suffix[1:].isdigit())
    return [path.relative_to(tree).as_posix() for path in paths]


def _library_path(folder: str, tree: Path, triplet: str) -> str:
    return ":".join(f"{folder}/{name}" for name in library_folders(tree, triplet))


def library_folders(tree: Path, triplet: str) -> list[str]:
    """Folders of libraries: the common ones, and those whose content an installation would link there.

    Each alternative, such as an implementation of BLAS, has its own folder.
    """
    common = [f"lib/{triplet}", f"usr/lib/{triplet}", "lib", "usr/lib"]
    below = sorted(
        {
            path.parent.relative_to(tree).as_posix()
            for path in (tree / "usr/lib" / triplet).glob("*/lib*.so.*")
        }
    )
    return [folder for folder in common if (tree / folder).is_dir()] + below


def _packages(lock: str, name: str | None) -> tuple[list[Locked], str]:
    content = read_lock(lock)
    if name is None or name not in content.packages:
        known = ", ".join(ARCHITECTURES)
        raise PermanentHostError(
            f"environment cannot be installed: its Debian packages are locked for {known} only"
        )
    return content.packages[name], content.moment
