"""Locks: kept, dropped and refused lines. Without a network: a script replaces uv and prints an answer."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cellfarm.base.project import Project
from cellfarm.envs import locks
from cellfarm.envs.debian.resolving import is_lock, read_lock
from cellfarm.envs.environments import SHARED, library_environment, lock_of, shared_requirements
from cellfarm.envs.locks import LockError, clean_lock, compile_lock, split_lock, uv_reason
from cellfarm.libraries import Description, Library, all_libraries

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / "envs"
PROJECT = Project(ROOT)

HASH = "sha256:" + "0" * 64
RESOLVED = f"""\
cuda-bindings==13.5.0 ; sys_platform == 'linux' \\
    --hash={HASH}
numpy==2.4.6 \\
    --hash={HASH} \\
    --hash={HASH}
nvidia-cublas==13.1.1.3 ; platform_machine == 'x86_64' \\
    --hash={HASH}
torch==2.13.0 ; sys_platform == 'darwin' \\
    --hash={HASH}
torch==2.13.0+cpu ; sys_platform != 'darwin' \\
    --hash={HASH}
torchvision==0.28.0 \\
    --hash={HASH}
triton==3.7.1 ; sys_platform == 'linux' \\
    --hash={HASH}
"""
NO_SOLUTION = """\
warning: something else
error: No solution found when resolving dependencies
  cause: Because there is no version of ncnn==9.9 and you require
      ncnn==9.9, we can conclude that your requirements are unsatisfiable.
"""
NO_SOLUTION_TREE = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of ncnn==9.9 and you require ncnn==9.9, we can conclude
      that your requirements are unsatisfiable.
"""


def fake_uv(folder: Path, stdout: str = "", stderr: str = "", status: int = 0) -> Path:
    """A script that replaces uv; it records its arguments and the file that they name."""
    program = folder / "uv"
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "(folder / 'argv').write_text('\\n'.join(sys.argv[1:]))\n"
        "(folder / 'in').write_text(pathlib.Path(sys.argv[-1]).read_text()\n"
        "    if '--excludes' not in sys.argv else\n"
        "    pathlib.Path(sys.argv[sys.argv.index('--excludes') + 1]).read_text())\n"
        f"sys.stdout.write({stdout!r})\n"
        f"sys.stderr.write({stderr!r})\n"
        f"sys.exit({status})\n",
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def packages(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def test_torch_is_one_bare_line_and_cuda_is_gone() -> None:
    lock = clean_lock(RESOLVED)
    names = [line.split("==")[0] for line in packages(lock)]
    assert names == ["numpy", "torch", "torchvision"]
    assert "torch==2.13.0" in lock.splitlines()
    assert "+cpu" not in lock


def test_hashes_stay_with_their_package() -> None:
    hashed, bare = split_lock(clean_lock(RESOLVED))
    assert bare == ["torch==2.13.0"]
    assert hashed.count("--hash=") == 3
    assert "numpy==2.4.6 \\\n    --hash=" in hashed
    assert "torch==" not in hashed.replace("torchvision==", "")


def test_two_releases_of_torch_are_refused() -> None:
    with pytest.raises(LockError, match=r"two versions of torch: 2\.13\.0 and 2\.12\.0"):
        clean_lock("torch==2.13.0\ntorch==2.12.0+cpu ; sys_platform == 'linux'\n")


@pytest.mark.parametrize("line", ["thing @ file:///x.whl", "-e .", "thing>=1"])
def test_what_is_not_pinned_is_refused(line: str) -> None:
    with pytest.raises(LockError, match="not a pinned package"):
        clean_lock(f"{line}\n")


def test_a_package_without_hash_is_refused() -> None:
    with pytest.raises(LockError, match="no hash for thing==1"):
        clean_lock("thing==1\n")


def test_compile_writes_the_lock_and_says_what_was_asked(tmp_path: Path) -> None:
    destination = tmp_path / "envs" / "a.txt"
    uv = fake_uv(tmp_path, stdout=RESOLVED)
    options = ["--find-links", "somewhere"]
    compile_lock(["torch==2.13.0", "numpy"], destination, uv, options)
    text = destination.read_text(encoding="utf-8")
    assert text.startswith("# Made by cellfarm")
    assert "#   torch==2.13.0\n#   numpy\n" in text
    assert "somewhere" not in text
    assert (tmp_path / "in").read_text() == "torch==2.13.0\nnumpy\n"
    argv = (tmp_path / "argv").read_text().splitlines()
    assert {"--universal", "--generate-hashes", *options} <= set(argv)
    assert [path.name for path in destination.parent.iterdir()] == ["a.txt"]


def test_excluded_packages_are_left_to_uv(tmp_path: Path) -> None:
    destination = tmp_path / "a.txt"
    compile_lock(["x"], destination, fake_uv(tmp_path, RESOLVED), [], exclude=["pandas"])
    assert (tmp_path / "in").read_text() == "pandas\n"
    assert "# Left out:\n#   pandas\n" in destination.read_text(encoding="utf-8")


def test_a_failure_gives_uv_s_reason_and_keeps_the_old_lock(tmp_path: Path) -> None:
    destination = tmp_path / "a.txt"
    destination.write_text("old", encoding="utf-8")
    uv = fake_uv(tmp_path, stderr=NO_SOLUTION, status=1)
    with pytest.raises(LockError) as caught:
        compile_lock(["ncnn==9.9"], destination, uv, [])
    assert str(caught.value).startswith("Because there is no version of ncnn==9.9 and you require")
    assert destination.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("stderr", [NO_SOLUTION, NO_SOLUTION_TREE])
def test_reason_is_one_line(stderr: str) -> None:
    assert uv_reason(stderr) == (
        "Because there is no version of ncnn==9.9 and you require ncnn==9.9, we can conclude"
        " that your requirements are unsatisfiable."
    )


def test_a_missing_uv_is_said(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"cannot run .*uv: No such file"):
        compile_lock(["x"], tmp_path / "a.txt", tmp_path / "uv", [])


def make_description(environments: dict[str, list[str]], **fields: Any) -> Description:
    document = {
        "name": "a", "title": "A", "default_version": "1", "package": "a", "sources": ["onnx"],
        "precisions": ["fp32"], "processors": ["cpu"],
        "environments": {"convert": ["a=={version}"], **environments},
    }  # fmt: skip
    return msgspec.convert(document | fields, Description)


def test_version_is_filled_in() -> None:
    library = make_description({"run": ["a=={version}", "b"]}, exclude={"run": ["c"]})
    assert locks.environment_requirements(library, "run", "1.2") == (["a==1.2", "b"], ["c"])


def test_older_versions_may_need_other_packages() -> None:
    library = make_description(
        {"run": ["a=={version}", "Num_Py==2.1; python_version > '3'", "c"]},
        older=[{"below": "1.19", "packages": ["num-py==1.2"]}],
    )
    for version, numpy in (("1.9", "num-py==1.2"), ("1.19", "Num_Py==2.1; python_version > '3'"),
                           ("1.100", "Num_Py==2.1; python_version > '3'"), ("no", "Num_Py")):  # fmt: skip
        lines, _ = locks.environment_requirements(library, "run", version)
        assert lines[0] == f"a=={version}" and lines[1].startswith(numpy) and lines[2] == "c"


@pytest.mark.parametrize("purpose", locks.PURPOSES)
@pytest.mark.parametrize("library", all_libraries().values(), ids=all_libraries().keys())
def test_committed_locks_are_those_of_the_libraries(
    library: Library, purpose: locks.Purpose
) -> None:
    name, version = library.name, library.default_version
    text = lock_of(PROJECT, library_environment(name, version, purpose)).read_text(encoding="utf-8")
    lines, exclude = locks.environment_requirements(library, purpose, version)
    # The comment at the top lists the requirements: a lock that was not renewed differs.
    assert text.startswith(locks._comment(lines, exclude))


@pytest.mark.parametrize("name", SHARED)
def test_committed_locks_are_those_of_the_shared_environments(name: str) -> None:
    text = lock_of(PROJECT, name).read_text(encoding="utf-8")
    assert text.startswith(locks._comment(*shared_requirements(name)))


@pytest.mark.parametrize(
    "path",
    [*sorted(ENVS.glob("*@*.txt")), *(ENVS / f"{name}.txt" for name in SHARED)],
    ids=lambda p: p.name,
)
def test_committed_locks_are_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    if is_lock(text):
        assert all(read_lock(text).packages.values())
        return
    hashed, bare = split_lock(text)
    assert clean_lock(hashed + "".join(f"{line}\n" for line in bare)) == "".join(
        f"{line}\n" for line in text.splitlines() if not line.startswith("#")
    )
    assert bare in ([], ["torch==2.13.0"])
