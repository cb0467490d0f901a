"""Environments: one plain virtual environment per library and purpose, built from a lock by uv.

A lock of Debian packages (see cellfarm.envs.debian) gives their Python instead of a virtual environment.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from ..base.digests import code_digest, digest, file_digest
from ..base.errors import PermanentHostError, TransientHostError, UserError
from ..base.locking import file_lock
from ..base.processes import die_with_parent
from ..base.project import PACKAGE, Project
from ..base.records import Record, read_record, write_record
from ..libraries import Library, all_libraries, resolve
from . import debian, locks
from .debian.resolving import is_lock
from .debian.trees import copy_lean, make_tree, python_script
from .native_building import build_runner, refuse_without_compiler
from .pip_options import uv_options
from .targets import BUNDLED_PYTHON, Target
from .targets import parse as parse_target

MODELS_ENVIRONMENT = "models"
#: Exports TFLite files to ONNX, and Keras models to TFLite.
TFLITE_ENVIRONMENT = "models.tflite"
#: CMAKE builds native runners, which are environments of the purpose NATIVE (see native_building).
CMAKE, NATIVE = "cmake", "native"
#: The environments that belong to no library, with the files of their requirements.
SHARED = {
    MODELS_ENVIRONMENT: "models/environment.yaml",
    TFLITE_ENVIRONMENT: "models/environment.tflite.yaml",
    BUNDLED_PYTHON: "devices/environment.yaml",
    CMAKE: "libraries/environment.cmake.yaml",
    "virtual.busybox": "virtual/environment.busybox.yaml",
    "virtual.qemu": "virtual/environment.qemu.yaml",
}
READY = "ready.json"
INSTALL_TIMEOUT_S = 3600

#: uv's messages when the network, not the request, is at fault.
_TRANSIENT = re.compile(
    r"error sending request|failed to fetch|timed out|dns error|connection (?:reset|refused)"
    r"|temporarily unavailable|\b50[234] |No space left|client error \(Connect\)"
    # As words: async-timeout and networkx are packages.
    r"|(?<![\w-])(?:timeout|network)(?![\w-])",
    re.IGNORECASE,
)


def library_environment(library: str, version: str, purpose: str, target: str | None = None) -> str:
    """The name of an environment, `ncnn@1.0.run`: its lock's, and the target if it is for a device."""
    return f"{library}@{version}.{purpose}{f'+{target}' if target else ''}"


def lock_of(project: Project, name: str) -> Path:
    return project.locks / f"{parse_target(name)[0]}.txt"


@dataclass(frozen=True)
class Environment:
    """A virtual environment; `folder` carries the digest of the lock and the interpreter.

    With a target it is for a device: its files are in `packages`, and it has no Python.
    """

    name: str
    folder: Path
    lock: Path
    target: Target | None = None

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def record(self) -> Path:
        return self.folder / READY

    def state(self) -> Record | None:
        """The record of its build; None if it is not built."""
        return read_record(self.folder, READY)


def locate(project: Project, name: str) -> Environment:
    """The environment of a lock, or of a native runner, built or not."""
    if name.endswith(f".{NATIVE}"):
        lock = lock_of(project, CMAKE)
        identity = digest([code_digest(*_native(name)[0].native_sources), identify_lock(lock)])
        return Environment(name, project.environments / f"{name}-{identity[:12]}", lock)
    lock, (_, target) = lock_of(project, name), parse_target(name)
    folder = project.environments / f"{name}-{identify_lock(lock, target)[:12]}"
    return Environment(name, folder, lock, target)


def _native(name: str) -> tuple[Library, str]:
    """The library of a native runner's environment, and its version."""
    library, version = resolve(name.removesuffix(f".{NATIVE}"))
    return all_libraries()[library], version


def identify_lock(path: Path, target: Target | None = None) -> str:
    """A lock's digest with the interpreter's: the same lock picks other wheels elsewhere."""
    return digest([file_digest(path), str(target) if target else python_tag()])


def python_tag() -> str:
    """The interpreter and platform that environments are built with: `cp311-linux-x86_64`."""
    major, minor = sys.version_info[:2]
    return f"cp{major}{minor}-{sys.platform}-{platform.machine()}"


def ensure_locks(project: Project, versions: list[tuple[str, str]]) -> list[Path]:
    """Make the locks that are missing, so that a matrix can have any released version.

    Raises:
        UserError: there is no such version, with the resolver's reason.
    """
    return [
        _make_lock(project, name, version, purpose)
        for name, version in versions
        for purpose in locks.PURPOSES
        if not lock_of(project, library_environment(name, version, purpose)).is_file()
    ]


def make_locks(project: Project, references: list[str]) -> list[Path]:
    """Lock libraries anew; without references, every library and every shared environment.

    If a lock cannot be made, the old one stays as it is.

    Raises:
        UserError: an unknown library, or a version that does not exist.
    """
    versions = [resolve(reference) for reference in references or all_libraries()]
    made = [] if references else [make_shared_lock(project, name) for name in SHARED]
    for name, version in versions:
        made += [_make_lock(project, name, version, purpose) for purpose in locks.PURPOSES]
    return made


def _make_lock(project: Project, library: str, version: str, purpose: locks.Purpose) -> Path:
    path = lock_of(project, library_environment(library, version, purpose))
    print(f"Locking {path.stem} (once; keep {project.relative(path)})", file=sys.stderr)
    requirements, exclude = locks.environment_requirements(
        all_libraries()[library], purpose, version
    )
    _compile(f"{library}@{version}", requirements, path, exclude)
    return path


def _compile(name: str, requirements: list[str], path: Path, exclude: list[str]) -> None:
    try:
        if debian.are_debian(requirements):
            locks.compile_debian_lock(requirements, path, exclude)
        else:
            locks.compile_lock(requirements, path, uv_binary(), uv_options(), exclude)
    except (locks.LockError, ValueError) as error:
        raise UserError(f"{name} cannot be locked: {error}") from error


def build(environment: Environment) -> Record:
    """Build an environment unless it is there; returns its state.

    An environment that can never be installed is recorded as `failed`, so that its cells say why.

    Raises:
        TransientHostError: no network or disk space; nothing is recorded, and the next run tries again.
    """
    with file_lock(environment.folder.with_name(f".{environment.folder.name}.lock")):
        state = environment.state()
        if state is not None:
            return state
        shutil.rmtree(environment.folder, ignore_errors=True)
        started = time.monotonic()
        try:
            _install(environment)
            state = Record("ok", None)
        except PermanentHostError as error:
            state = Record("failed", str(error), error.output)
        except BaseException:
            shutil.rmtree(environment.folder, ignore_errors=True)
            raise
        seconds = round(time.monotonic() - started, 1)
        return write_record(environment.folder, structs.replace(state, seconds=seconds), READY)


def _install(environment: Environment) -> None:
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    if environment.name.endswith(f".{NATIVE}"):
        _install_native(environment)
        return
    if environment.target is not None:
        _install_for_device(environment, environment.target)
        return
    if is_lock(environment.lock.read_text(encoding="utf-8")):
        _install_debian(environment)
        return
    _run([str(uv_binary()), "venv", "--quiet", "--python", sys.executable, str(environment.folder)])
    # Byte code is compiled now, not by the first launch that is measured.
    _install_lock(environment, ["--python", str(environment.python), "--compile-bytecode"])


def _install_lock(environment: Environment, options: list[str]) -> None:
    """Install the packages of a lock by `uv pip install` with the options."""
    hashed, bare = locks.split_lock(environment.lock.read_text(encoding="utf-8"))
    requirements = environment.folder / "requirements.txt"
    requirements.write_text(hashed, encoding="utf-8")
    install = [str(uv_binary()), "pip", "install", "--quiet", "--no-deps", *options]
    _run([*install, *uv_options(), "--require-hashes", "-r", str(requirements)])
    for requirement in bare:
        _install_cpu_build(install, requirement)


def _install_for_device(environment: Environment, target: Target) -> None:
    """Install the files that a device needs, of its architecture; they cannot be run here."""
    text = environment.lock.read_text(encoding="utf-8")
    if is_lock(text):
        tree = make_tree(text, environment.folder.parent, target.architecture)
        environment.folder.mkdir()
        copy_lean(tree, environment.packages, target.architecture)
        return
    environment.folder.mkdir()
    options = [
        "--python", sys.executable, "--target", str(environment.packages), "--python-platform",
        target.platform, "--python-version", target.python, "--only-binary", ":all:",
    ]  # fmt: skip
    _install_lock(environment, options)


def _install_debian(environment: Environment) -> None:
    tree = make_tree(environment.lock.read_text(encoding="utf-8"), environment.folder.parent)
    python = environment.python
    python.parent.mkdir(parents=True)
    python.write_text(python_script(tree, environment.folder), encoding="utf-8")
    python.chmod(0o755)
    _run([str(python), "-c", "import zlib, ssl, ctypes"], "Python")
    # Byte code as above. Files that do not compile, such as tests of syntax errors, are passed over.
    _execute([str(python), "-m", "compileall", "-q", "-q", str(tree / "usr/lib")])


def _install_native(environment: Environment) -> None:
    """Build a native runner."""
    refuse_without_compiler()
    name = f"{CMAKE}-{identify_lock(environment.lock)[:12]}"
    cmake = Environment(CMAKE, environment.folder.with_name(name), environment.lock)
    state = build(cmake)
    if state.status != "ok":
        raise PermanentHostError(f"there is no CMake: {state.reason}")
    environment.folder.mkdir()
    program = cmake.folder / "bin" / "cmake"
    build_runner(*_native(environment.name), environment.packages, uv_binary(), program, _run)


def _install_cpu_build(install: list[str], requirement: str) -> None:
    """Install a CPU build of torch: a wheel that pip's configuration names, else from PyTorch's CPU index.

    UV_TORCH_BACKEND overrides the index, as for uv itself.
    """
    links = uv_options(only="--find-links")
    if links:
        try:
            _run([*install, "--no-index", *links, requirement])
            return
        except PermanentHostError:
            pass  # no such wheel in those folders
    backend = os.environ.get("UV_TORCH_BACKEND", "cpu")
    _run([*install, *uv_options(), "--torch-backend", backend, requirement])


def _run(argv: list[str], program: str = "uv") -> None:
    try:
        process = _execute(argv)
    except subprocess.TimeoutExpired as error:
        message = f"{program} did not end within {INSTALL_TIMEOUT_S} s"
        raise TransientHostError(message, argv) from error
    status = process.returncode
    if status == 0:
        return
    output = process.stderr.decode(errors="replace")[-8000:]
    reason = locks.uv_reason(output)[:600] or f"{program} ended with status {status}"
    kind = TransientHostError if _TRANSIENT.search(output) else PermanentHostError
    raise kind(f"environment cannot be installed: {reason}", argv, status, output)


def _execute(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
        env=clean_variables(),
        preexec_fn=die_with_parent,
    )


def uv_binary() -> Path:
    """The uv of the orchestrator's environment, else that of the search path."""
    beside = Path(sys.executable).parent / "uv"
    path = str(beside) if beside.is_file() else shutil.which("uv")
    if path is None:
        raise UserError("uv is missing: run `make setup`")
    return Path(path)


def clean_variables(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The process's variables without those that would mislead another Python."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | (extra or {})


def shared_requirements(name: str = MODELS_ENVIRONMENT) -> tuple[list[str], list[str]]:
    """The requirement lines and excluded names of an environment that belongs to no library."""
    from ..base.documents import load_yaml

    document = load_yaml(PACKAGE / SHARED[name])
    return list(document["requirements"]), list(document.get("exclude", []))


def make_shared_lock(project: Project, name: str) -> Path:
    """Lock an environment that belongs to no library anew.

    Raises:
        UserError: it cannot be solved, with the resolver's reason.
    """
    path = lock_of(project, name)
    requirements, exclude = shared_requirements(name)
    _compile(name, requirements, path, exclude)
    return path
