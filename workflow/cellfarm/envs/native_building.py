"""Native runners: a library with a small program of cellfarm's, built for aarch64 from their sources.

The program has no shared libraries, so it runs on any Linux kernel of its architecture, Android's included.
Debian's cross compiler builds it. What it tells is what the runner tells (see cellfarm.runner), what it takes
is in cellfarm.experiments.native_runner.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
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
#: What installs the cross compiler.
MEND = f"apt install g++-{ARCHITECTURE}-linux-gnu"
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
            f"a native runner is built with {missing}, which is not installed: on Debian or Ubuntu, {MEND}"
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
        run: runs a command to its end, with the name of its program; raises if it fails.

    Raises:
        PermanentHostError: its sources are of another version, or do not compile.
        TransientHostError: they cannot be fetched.
    """
    source = load_yaml(library.folder / "native" / "source.yaml")
    if source["version"] != version:
        raise PermanentHostError(
            f"{library.name} has a native runner at {source['version']} only, not at {version}"
        )
    work = folder.with_name("work")
    work.mkdir()
    try:
        archive = fetch(_find(source, work, uv, run), work, _say)
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
        run([str(cmake), *_configure(library.folder / "native", work / "build", settings)], "cmake")
        parallel = str(os.cpu_count() or 1)
        run([str(cmake), "--build", str(work / "build"), "--parallel", parallel], "cmake")
        folder.mkdir()
        shutil.copy2(work / "build" / PROGRAM, folder / PROGRAM)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _find(source: Mapping[str, Any], work: Path, uv: Path, run: _Run) -> Download:
    """Where the package index has a source distribution. uv knows it without unpacking it; pip would run its
    build to learn its name and version."""
    requirement = f"{source['distribution']}=={source['version']}"
    wanted, found = work / "requirements.in", work / "pylock.toml"
    wanted.write_text(f"{requirement}\n", encoding="utf-8")
    options = ("--quiet", "--no-deps", "--format", "pylock.toml", "--python", sys.executable)
    run(
        [str(uv), "pip", "compile", *options, *uv_options(), "-o", str(found), str(wanted)],
        "uv",
    )
    (package,) = tomllib.loads(found.read_text(encoding="utf-8"))["packages"]
    url = package.get("sdist", {}).get("url")
    if url is None:
        raise PermanentHostError(f"no package index has the sources of {requirement}")
    return Download(url, source["sha256"])


def _configure(source: Path, build: Path, settings: dict[str, str]) -> Sequence[str]:
    # Make is what cellfarm needs anyway.
    argv = ["-S", str(source), "-B", str(build), "-G", "Unix Makefiles"]
    return [*argv, *(f"-D{name}={value}" for name, value in settings.items())]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
