"""Environments are built once per lock; one that can never be installed is recorded and not retried."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cellfarm.base.errors import PermanentHostError, TransientHostError, UserError
from cellfarm.base.project import Project
from cellfarm.envs import environments, locks
from cellfarm.envs.debian import trees
from cellfarm.envs.environments import (
    Environment,
    build,
    clean_variables,
    ensure_locks,
    library_environment,
    locate,
    lock_of,
    make_locks,
)

from tests.support.projects import make_project

NAME = library_environment("ncnn", "1.0", "run")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.delenv("CELLFARM_ENVIRONMENTS", raising=False)
    return make_project(tmp_path)


@pytest.fixture
def environment(project) -> Environment:
    lock_of(project, NAME).write_text("numpy==2.0\n")
    return locate(project, NAME)


class Installer:
    """Replaces uv: counts its calls, fills the folder, and raises an error if it has one."""

    def __init__(self, monkeypatch, error: BaseException | None = None) -> None:
        self.count = 0
        self.error = error
        monkeypatch.setattr(environments, "_install", self)

    def __call__(self, environment: Environment) -> None:
        self.count += 1
        environment.folder.mkdir(parents=True)
        environment.python.parent.mkdir()
        environment.python.touch()
        if self.error:
            raise self.error


def test_a_folder_carries_the_digest_of_lock_and_interpreter(project, environment, monkeypatch):
    assert environment.folder.parent == project.root / ".envs"
    assert environment.folder.name.startswith(f"{NAME}-")
    assert environment.state() is None
    environment.lock.write_text("numpy==2.1\n")
    other_lock = locate(project, NAME)
    monkeypatch.setattr(environments, "python_tag", lambda: "cp399-other")
    other_python = locate(project, NAME)
    assert len({environment.folder, other_lock.folder, other_python.folder}) == 3


def test_checkouts_may_share_environments(project, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(tmp_path / "shared"))
    lock_of(project, NAME).write_text("numpy==2.0\n")
    assert locate(project, NAME).folder.parent == tmp_path / "shared"


def test_an_environment_is_built_once(project, environment, monkeypatch):
    installer = Installer(monkeypatch)
    assert build(environment).status == "ok"
    assert build(locate(project, NAME)).status == "ok"
    assert installer.count == 1
    state = environment.state()
    assert state and (state.status, state.reason) == ("ok", None)


def test_two_builders_at_once_build_it_once(environment, monkeypatch):
    monkeypatch.setattr("cellfarm.base.locking.POLL_S", 0.01)
    installer = Installer(monkeypatch)
    builders = [threading.Thread(target=build, args=(environment,)) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert installer.count == 1


def test_what_can_never_be_installed_is_recorded_with_its_reason(environment, monkeypatch):
    error = PermanentHostError("no such package", ["uv"], 1, "the whole output")
    installer = Installer(monkeypatch, error)
    for _ in range(2):
        state = build(environment)
        assert (state.status, state.reason) == ("failed", "no such package")
        assert state.log == "the whole output"
    assert installer.count == 1


@pytest.mark.parametrize("error", [TransientHostError("no network"), KeyboardInterrupt()])
def test_what_may_work_later_leaves_nothing_behind(environment, monkeypatch, error):
    Installer(monkeypatch, error)
    with pytest.raises(type(error)):
        build(environment)
    assert environment.state() is None and not environment.folder.exists()
    Installer(monkeypatch)
    assert build(environment).status == "ok"


def test_a_torn_environment_is_made_anew(environment, monkeypatch):
    environment.folder.mkdir(parents=True)
    (environment.folder / "half").touch()
    environment.record.write_text('{"status": "o')
    Installer(monkeypatch)
    assert build(environment).status == "ok"
    assert not (environment.folder / "half").exists()


def failing_command(stderr: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.stderr.write({stderr!r}); sys.exit(2)"]


@pytest.mark.parametrize(
    "stderr",
    [
        "error: Failed to fetch: `https://example.org/simple/numpy/`",
        "error: Request failed\n  Caused by: operation timed out",
        "error: error sending request for url (https://example.org/)",
        "error: HTTP status server error (503 Service Unavailable) for url",
        "error: failed to write to file: No space left on device (os error 28)",
        "error: network is unreachable",
        "Caused by: dns error: failed to lookup address",
    ],
)
def test_a_fault_of_network_or_disk_is_transient(stderr: str):
    with pytest.raises(TransientHostError):
        environments._run(failing_command(stderr))


@pytest.mark.parametrize(
    "stderr",
    [
        "Because numpy==99 was not found and you require numpy==99, requirements are unsatisfiable.",
        "error: Hash mismatch for `networkx==3.5`",
        "Because async-timeout==9 was not found, your requirements are unsatisfiable.",
        "Because pytest-timeout==9 has no wheels with a matching Python ABI tag",
        "Because torch==2.1503 was not found, requirements are unsatisfiable.",
        "",
    ],
)
def test_a_request_that_cannot_be_met_is_permanent(stderr: str):
    with pytest.raises(PermanentHostError) as caught:
        environments._run(failing_command(stderr))
    assert caught.value.code == 2
    assert "environment cannot be installed: " in str(caught.value)


def test_output_that_is_no_text_is_no_problem():
    argv = [sys.executable, "-c", "import sys; sys.stderr.buffer.write(b'\\xff\\xfe'); sys.exit(1)"]
    with pytest.raises(PermanentHostError):
        environments._run(argv)


def test_variables_that_lead_python_astray_are_dropped(monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("KEPT", "yes")
    variables = clean_variables({"MINE": "1", "KEPT": "no"})
    assert not {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"} & set(variables)
    assert (variables["MINE"], variables["KEPT"]) == ("1", "no")


def test_a_missing_uv_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="make setup"):
        environments.uv_binary()


@pytest.fixture
def compiled(monkeypatch) -> list[Path]:
    """Replaces the resolver; returns the list of the locks that it was asked for, in order."""
    destinations: list[Path] = []

    def compile_lock(requirements, destination: Path, *_: object) -> None:
        destinations.append(destination)
        destination.write_text("\n".join(requirements))

    monkeypatch.setattr(locks, "compile_lock", compile_lock)
    monkeypatch.setattr(environments, "uv_binary", lambda: Path("uv"))
    monkeypatch.setattr(environments, "uv_options", list)
    return destinations


def test_only_missing_locks_are_made(project, compiled):
    ensure_locks(project, [("ncnn", "9.9")])
    assert [path.name for path in compiled] == ["ncnn@9.9.run.txt", "ncnn@9.9.convert.txt"]
    assert any("ncnn==9.9" in line for line in compiled[0].read_text().splitlines())
    assert ensure_locks(project, [("ncnn", "9.9")]) == [] and len(compiled) == 2


def test_locking_anew_replaces_the_lock(project, compiled):
    lock_count = len(list(project.locks.glob("ncnn@*")))
    written = make_locks(project, ["ncnn"])
    assert written == compiled and len(written) == 2
    assert len(list(project.locks.glob("ncnn@*"))) == lock_count


@pytest.mark.parametrize("references", [["ncnn"], ["tflite"], ["pytorch_mobile"], []])
def test_a_resolve_that_fails_leaves_every_lock_as_it_is(project, monkeypatch, references):
    def refuse(*_: object) -> None:
        raise locks.LockError("no connection")

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in project.locks.iterdir() if path.is_file()}

    monkeypatch.setattr(locks, "compile_lock", refuse)
    monkeypatch.setattr(locks, "compile_debian_lock", refuse)
    before = contents()
    with pytest.raises(UserError, match="cannot be locked: no connection"):
        make_locks(project, references)
    assert contents() == before


def test_a_version_that_does_not_exist_is_the_users_mistake(project, compiled, monkeypatch):
    def refuse(*_: object) -> None:
        raise locks.LockError("there is no version of ncnn==0.0.0")

    monkeypatch.setattr(locks, "compile_lock", refuse)
    with pytest.raises(UserError, match=r"ncnn@0\.0\.0 cannot be locked: there is no version"):
        ensure_locks(project, [("ncnn", "0.0.0")])
    with pytest.raises(UserError, match="unknown library 'nccn'"):
        make_locks(project, ["nccn"])


#: Replaces the dynamic linker of a tree: drops its own options and starts the program.
LINKER = '#!/bin/sh\n[ "$1$2" = --inhibit-cache--library-path ] || exit 9\nshift 3\nexec "$@"\n'
DEBIAN_LOCK = "debian bookworm at 20260712T101637Z\n\n[amd64]\n\n[arm64]\n"


@pytest.fixture
def debian_environment(project, monkeypatch) -> Environment:
    """An environment with a lock of Debian packages; its tree starts the Python that runs the tests."""
    tree = project.environments / "debian-0123456789ab"
    for machine, triplet in trees._TRIPLETS.items():
        program(tree / "lib" / triplet / trees._LINKERS[machine], LINKER)
    program(tree / "usr/bin/python3.11", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    monkeypatch.setattr(environments, "make_tree", lambda lock, folder: tree)
    lock_of(project, NAME).write_text(f"# asked for\n{DEBIAN_LOCK}")
    return locate(project, NAME)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_debian_s_python_stands_where_a_virtual_one_would(debian_environment, project):
    assert build(debian_environment).status == "ok"
    for root in (project.root, project.root.with_name("moved")):
        if not root.exists():
            project.root.rename(root)
        python = root / debian_environment.python.relative_to(project.root)
        argv = [str(python), "-s", "-E", "-c", "import sys; print(sys.argv[1:])", "a b", "$c"]
        assert subprocess.check_output(argv, text=True) == "['a b', '$c']\n"


def test_a_python_that_does_not_start_is_recorded(debian_environment, project):
    tree = project.environments / "debian-0123456789ab"
    program(tree / "usr/bin/python3.11", "#!/bin/sh\necho 'no libz.so.1' >&2; exit 127\n")
    state = build(debian_environment)
    assert state.status == "failed" and "no libz.so.1" in (state.reason or "")


def test_a_debian_package_that_does_not_exist_is_the_users_mistake(project, monkeypatch):
    def refuse(*_: object) -> None:
        raise locks.LockError("python3-torch is there at version 1.13.1 only, not 2.0")

    monkeypatch.setattr(locks, "compile_debian_lock", refuse)
    with pytest.raises(UserError, match=r"pytorch_mobile@2\.0 cannot be locked: python3-torch is"):
        ensure_locks(project, [("pytorch_mobile", "2.0")])
