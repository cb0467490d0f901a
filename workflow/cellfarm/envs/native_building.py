"""Native runners: a library and a small program of cellfarm's, built for aarch64 from their sources.

The program has no shared libraries, so it runs on any Linux kernel of its architecture, Android's included.
Debian's cross compiler builds it. Its events are those of the runner (see cellfarm.runner); its request is
described in cellfarm.experiments.native_runner.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base.documents import load_yaml
from ..base.errors import PermanentHostError
from ..libraries import Library
from .downloads import Download, fetch
from .pip_options import uv_options

ARCHITECTURE = "aarch64"
#: The program's name, in the folder that `build_runner` fills.
PROGRAM = "runner"
#: The command that installs the cross compiler.
INSTALL_COMMAND = f"apt install g++-{ARCHITECTURE}-linux-gnu"
_Run = Callable[[list[str], str], None]
_COMPILERS = {"C": f"{ARCHITECTURE}-linux-gnu-gcc", "CXX": f"{ARCHITECTURE}-linux-gnu-g++"}


def missing_compiler() -> str | None:
    """The cross compiler that is not installed here, or None."""
    return next((name for name in _COMPILERS.values() if shutil.which(name) is None), None)


def refuse_without_compiler() -> None:
    """Raise PermanentHostError if the cross compiler is not installed here."""
    missing = missing_compiler()
    if missing:
        raise PermanentHostError(
            f"a native runner is built with {missing}, which is not installed: on Debian or Ubuntu, "
            f"{INSTALL_COMMAND}"
        )


def build_runner(
    library: Library,
    version: str,
    folder: Path,
    uv: Path,
    cmake: Path,
    run: _Run,
) -> None:
    """Fill `folder` with the native runner of a library that has one.

    Args:
        run: runs a command, given with its program's name, to its end; raises if it fails.

    Raises:
        PermanentHostError: the sources are of another version, or do not compile.
        TransientHostError: the sources cannot be fetched.
    """
    source = load_yaml(library.folder / "native" / "source.yaml")
    if source["version"] != version:
        raise PermanentHostError(
            f"{library.name} has a native runner at {source['version']} only, not at {version}"
        )
    work = folder.with_name("work")
    work.mkdir()
    try:
        archive = fetch(_source_distribution(source, work, uv, run), work, _say)
        shutil.unpack_archive(archive, work / "source", "gztar")
        (unpacked,) = (work / "source").iterdir()
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": ARCHITECTURE,
            **{f"CMAKE_{name}_COMPILER": compiler for name, compiler in _COMPILERS.items()},
            "LIBRARY_SOURCE": str(unpacked),
            "LIBRARY_VERSION": version,
        }
        # Make is installed anyway: cellfarm needs it.
        paths = ["-S", str(library.folder / "native"), "-B", str(work / "build")]
        definitions = [f"-D{name}={value}" for name, value in settings.items()]
        run([str(cmake), *paths, "-G", "Unix Makefiles", *definitions], "cmake")
        parallel = str(os.cpu_count() or 1)
        run([str(cmake), "--build", str(work / "build"), "--parallel", parallel], "cmake")
        folder.mkdir()
        shutil.copy2(work / "build" / PROGRAM, folder / PROGRAM)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _source_distribution(source: Mapping[str, Any], work: Path, uv: Path, run: _Run) -> Download:
    """A source distribution of the package index. uv finds it without unpacking it; pip would run its build
    to learn its name and version."""
    requirement = f"{source['distribution']}=={source['version']}"
    requirements, lock = work / "requirements.in", work / "pylock.toml"
    requirements.write_text(f"{requirement}\n", encoding="utf-8")
    options = ("--quiet", "--no-deps", "--format", "pylock.toml", "--python", sys.executable)
    argv = [str(uv), "pip", "compile", *options, *uv_options(), "-o", str(lock), str(requirements)]
    run(argv, "uv")
    (package,) = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    url = package.get("sdist", {}).get("url")
    if url is None:
        raise PermanentHostError(f"no package index has the sources of {requirement}")
    return Download(url, source["sha256"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
