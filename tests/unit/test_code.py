"""The closure of imports is computed without running code; code that changed since the plan is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cellfarm.base import code
from cellfarm.base.code import Code, PlannedCode, closure
from cellfarm.base.errors import InternalMismatch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.packages import forget
from tests.support.runner_modules import write_tree


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Clear what the process remembers of modules: these tests change them."""
    forget()
    yield
    forget()


def closure_names(root: Path, *entries: str, roots: tuple[str, ...] = ("",)) -> set[str]:
    return set(closure([root / entry for entry in entries], [root / name for name in roots]))


@pytest.mark.parametrize(
    "line",
    [
        "import other",
        "import json, other",
        "import other as something",
        "from other import value",
        "from other import *",
        "def late():\n    import other",
        "class Late:\n    def go(self):\n        from other import value",
        "try:\n    import other\nexcept ImportError:\n    other = None",
        "if sys.platform == 'linux':\n    import other",
        "with open('x') as file:\n    import other",
        "for _ in ():\n    import other",
        "match 1:\n    case 1:\n        import other",
        "async def late():\n    import other",
        "x = lambda: __name__\nimport other",
    ],
)
def test_an_import_counts_wherever_it_stands(tmp_path, line):
    write_tree(tmp_path, {"entry.py": line, "other.py": "", "unrelated.py": ""})
    assert closure_names(tmp_path, "entry.py") == {"entry.py", "other.py"}


@pytest.mark.parametrize("condition", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_is_for_type_checkers_alone_does_not_count(tmp_path, condition):
    text = f"if {condition}:\n    import other\n    from other import value\nimport more\n"
    write_tree(tmp_path, {"entry.py": text, "other.py": "", "more.py": ""})
    assert closure_names(tmp_path, "entry.py") == {"entry.py", "more.py"}


def test_an_import_in_the_else_branch_of_type_checking_counts(tmp_path):
    text = "if TYPE_CHECKING:\n    import typed\nelse:\n    import other\n"
    write_tree(tmp_path, {"entry.py": text, "typed.py": "", "other.py": ""})
    assert closure_names(tmp_path, "entry.py") == {"entry.py", "other.py"}
    write_tree(tmp_path, {"negated.py": "if not TYPE_CHECKING:\n    import other\n"})
    assert closure_names(tmp_path, "negated.py") == {"negated.py", "other.py"}


def test_imports_are_followed_and_circles_end(tmp_path):
    files = {"a.py": "import b", "b.py": "import c", "c.py": "import a", "d.py": "import a"}
    write_tree(tmp_path, files)
    assert closure_names(tmp_path, "a.py") == {"a.py", "b.py", "c.py"}


def test_a_module_of_a_package_runs_the_packages_around_it(tmp_path):
    files = {
        "entry.py": "import pack.inner.leaf",
        "pack/__init__.py": "import beside",
        "pack/inner/__init__.py": "",
        "pack/inner/leaf.py": "",
        "pack/unrelated.py": "",
        "beside.py": "",
    }
    write_tree(tmp_path, files)
    expected = {"entry.py", "pack/__init__.py", "pack/inner/__init__.py", "pack/inner/leaf.py"}
    assert closure_names(tmp_path, "entry.py") == expected | {"beside.py"}


def test_a_folder_without_an_init_is_a_package_too(tmp_path):
    write_tree(tmp_path, {"entry.py": "from pack.leaf import value", "pack/leaf.py": ""})
    assert closure_names(tmp_path, "entry.py") == {"entry.py", "pack/leaf.py"}


def test_a_name_from_a_package_may_be_a_module(tmp_path):
    files = {"entry.py": "from pack import leaf, value", "pack/__init__.py": "", "pack/leaf.py": ""}
    write_tree(tmp_path, files)
    assert closure_names(tmp_path, "entry.py") == set(files)


@pytest.mark.parametrize(
    "line",
    ["from . import leaf", "from .leaf import value", "from .. import top", "from ..top import x",
     "from ..sub.leaf import x"],
)  # fmt: skip
def test_relative_imports_are_relative_to_the_package(tmp_path, line):
    files = {
        "pack/__init__.py": "", "pack/top.py": "", "pack/sub/__init__.py": "",
        "pack/sub/leaf.py": "", "pack/sub/entry.py": line, "leaf.py": "", "top.py": "",
    }  # fmt: skip
    write_tree(tmp_path, files)
    module = "pack/top.py" if "top" in line else "pack/sub/leaf.py"
    imported = closure_names(tmp_path, "pack/sub/entry.py")
    assert module in imported and not imported & {"leaf.py", "top.py"}
    assert imported <= {"pack/__init__.py", "pack/sub/__init__.py", "pack/sub/entry.py", module}


def test_modules_outside_the_roots_are_not_in_the_closure(tmp_path):
    write_tree(tmp_path, {"code/entry.py": "import json, numpy, elsewhere", "elsewhere.py": ""})
    assert closure_names(tmp_path, "code/entry.py", roots=("code",)) == {"entry.py"}


def test_the_first_root_that_has_a_module_wins_and_names_are_below_the_roots(tmp_path):
    files = {
        "one/entry.py": "import shared, own",
        "one/shared.py": "",
        "two/shared.py": "import hidden",
        "two/hidden.py": "",
        "two/own.py": "",
    }
    write_tree(tmp_path, files)
    imported = closure([tmp_path / "one/entry.py"], [tmp_path / "one", tmp_path / "two"])
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in imported.items()} == {
        "entry.py": "one/entry.py", "own.py": "two/own.py", "shared.py": "one/shared.py",
    }  # fmt: skip


def test_a_module_that_is_left_out_is_not_followed(tmp_path):
    write_tree(tmp_path, {"entry.py": "import a", "a.py": "import b", "b.py": ""})
    left_out = [tmp_path / "a.py"]
    assert set(closure([tmp_path / "entry.py"], [tmp_path], left_out)) == {"entry.py"}


@pytest.mark.parametrize("text", ["def broken(:\n", "\0", "import (", "\tx\n  y\n"])
def test_a_file_with_a_syntax_error_is_in_the_closure(tmp_path, text):
    write_tree(tmp_path, {"entry.py": "import broken", "broken.py": text})
    assert closure_names(tmp_path, "entry.py") == {"entry.py", "broken.py"}


def test_a_file_that_is_no_module_counts_by_its_content(tmp_path):
    write_tree(tmp_path, {"entry.py": "", "words.yaml": "import other", "other.py": ""})
    assert closure_names(tmp_path, "entry.py", "words.yaml") == {"entry.py", "words.yaml"}


MODULES = ("a", "b", "pack", "pack.c", "pack.d")
FORMS = st.sampled_from(["import {}", "from {} import value", "def late():\n    import {}"])
GRAPHS = st.fixed_dictionaries(
    {
        name: st.lists(st.tuples(FORMS, st.sampled_from(MODULES)), max_size=3)
        for name in ("entry", *MODULES)
    }
)


@given(graph=GRAPHS)
def test_what_python_itself_imports_is_in_the_closure(tmp_path_factory, graph):
    """The closure holds every module that the entry imports, also in functions that are not called."""
    root = tmp_path_factory.mktemp("graph")
    paths = {name: f"{name.replace('.', '/')}.py" for name in ("entry", *MODULES)}
    paths["pack"] = "pack/__init__.py"
    reached, waiting = {"entry"}, ["entry"]
    for name, lines in graph.items():
        text = "".join(form.format(module) + "\n" for form, module in lines)
        write_tree(root, {paths[name]: text})
    while waiting:
        for _, module in graph[waiting.pop()]:
            for imported in ("pack", module) if module.startswith("pack.") else (module,):
                if imported not in reached:
                    reached.add(imported)
                    waiting.append(imported)
    assert closure_names(root, "entry.py") == {paths[name] for name in reached}


# -- planned code -----------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    root = tmp_path / "package"
    write_tree(root, {"part/worker.py": "import helper", "part/helper.py": ""})
    monkeypatch.setattr(code, "PACKAGE", root)
    return root


def planned() -> PlannedCode:
    return PlannedCode.of(["part/worker.py"], ("part",))


def test_planned_code_is_read_as_it_was_planned(package):
    source = planned().read()
    assert source.files == {"helper.py": b"", "worker.py": b"import helper"}
    assert source.digest == planned().digest


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "part/helper.py").write_text("VALUE = 1\n"),
        lambda root: (root / "part/worker.py").write_text("pass\n"),
        lambda root: (root / "part/helper.py").unlink(),
    ],
    ids=["another content", "another import", "gone"],
)
def test_code_that_changed_since_the_plan_is_refused(package, change):
    before = planned()
    change(package)
    forget()  # as in the process of a job, which has not read the code of the plan
    with pytest.raises(InternalMismatch, match=r"the code of part/worker\.py changed since"):
        before.read()


def test_code_that_changed_in_the_planning_process_is_refused(package):
    """The content that is shipped is read again, although this process remembers the digests."""
    before = planned()
    (package / "part/helper.py").write_text("VALUE = 1\n")
    assert planned() == before
    with pytest.raises(InternalMismatch):
        before.read()


def test_unrelated_changes_are_no_change(package):
    before = planned()
    write_tree(package, {"part/unrelated.py": "VALUE = 1\n", "part/source_more.py": ""})
    forget()
    assert planned() == before
    before.read()


def test_a_digest_is_of_names_and_contents():
    assert Code({"a": b"1", "b": b"2"}).digest == Code({"b": b"2", "a": b"1"}).digest
    different = [
        {"a": b"1"},
        {"a": b"2", "b": b"1"},
        {"a": b"1", "c": b"2"},
        {"a": b"12", "b": b""},
    ]
    digests = {Code(files).digest for files in different} | {Code({"a": b"1", "b": b"2"}).digest}
    assert len(digests) == len(different) + 1


def test_code_is_written_whole_and_once(package, tmp_path):
    files = {"worker.py": b"import conversion.inner\nprint(conversion.inner.VALUE)\n",
             "conversion/inner.py": b"VALUE = 7\n"}  # fmt: skip
    source = Code(files)
    target = source.write(tmp_path / "written")
    assert target == tmp_path / "written" / source.digest
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert Code(files).write(tmp_path / "written") == target
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == stamps
    assert [path.name for path in (tmp_path / "written").iterdir()] == [source.digest]
    argv = [sys.executable, "-B", str(target / "worker.py")]
    completed = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert completed.stdout == "7\n"


def test_a_write_that_breaks_off_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    write_count = 0
    write_bytes = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        nonlocal write_count
        write_count += 1
        if write_count == 2:
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    source = Code({"a.py": b"1", "b.py": b"2"})
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        source.write(tmp_path)
    assert not (tmp_path / source.digest).exists()
    monkeypatch.undo()
    assert {path.name for path in source.write(tmp_path).iterdir()} == {"a.py", "b.py"}


def test_another_process_may_be_first(tmp_path, monkeypatch):
    source = Code({"a.py": b"1"})
    rename = Path.rename

    def rename_too_late(path: Path, target: Path) -> Path:
        target.mkdir()
        (target / "a.py").write_bytes(b"1")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    target = source.write(tmp_path)
    assert (target / "a.py").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == [source.digest]
