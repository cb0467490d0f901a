"""The package's layout: no module is loose at its root, imports run one way, names are unique."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import cellfarm

PACKAGE = Path(cellfarm.__file__).parent
#: Each package imports only packages before it, and itself. docs/architecture.md has the same list.
ORDER = (
    "base", "analysis", "measures", "libraries", "wanted", "envs", "conversion", "devices", "store",
    "planning", "experiments", "warehouse", "comparison", "selection", "report", "snakemake", "api",
    "cli", "__main__", "virtual",
)  # fmt: skip
#: Packages that run elsewhere: in the models' environment, or on a device.
APART = ("models", "passes", "runner")
#: Code that a device and this machine share, because both must compute the same.
ON_BOTH_SIDES = {("measures.accuracy.pictures", "runner")}
#: Names of modules that have the same purpose in every package.
PARTS = {
    "__init__", "__main__", "backend", "convert", "profiler", "tool", "worker", "device", "host",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    """(name below the package, file) of every module of the orchestrator."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        in_library = parts[0] == "libraries" and len(parts) > 2 and parts[2] != "tool"
        if parts[0] not in APART and not in_library and parts[-1] != "device":
            yield ".".join(part for part in parts if part != "__init__"), path


def imported_names(name: str, path: Path) -> Iterator[list[str]]:
    """The parts of each name below the package that a module imports, also within functions and for types."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module.split(".") if node.module else []
        if node.level:
            base = [part for part in package if part][: len(package) - node.level + 1]
        elif module and module[0] == "cellfarm":
            base, module = [], module[1:]
        else:
            continue
        yield from ([*base, *module, alias.name] for alias in node.names)


def imports(name: str, path: Path) -> Iterator[str]:
    """The first part of the name of each module of the package that a module imports."""
    yield from (parts[0] for parts in imported_names(name, path))


def test_no_module_is_loose_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api"}


def test_imports_run_one_way():
    backwards = []
    for name, path in modules():
        own_part = name.split(".")[0]
        for target in imports(name, path):
            if (name, target) in ON_BOTH_SIDES:
                continue
            if own_part and target != own_part and ORDER.index(target) >= ORDER.index(own_part):
                backwards.append(f"{name} imports {target}")
    assert not backwards


def imported_modules(name: str, path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports."""
    for parts in imported_names(name, path):
        longest = ".".join(parts)
        module = longest if longest in known else ".".join(parts[:-1])
        if module in known and module != name:
            yield module


def test_no_module_is_part_of_a_circle():
    paths = dict(modules())
    graph = {
        name: set(imported_modules(name, path, set(paths))) for name, path in paths.items() if name
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, with the modules


def test_the_docs_list_the_folders_in_that_order():
    text = (PACKAGE.parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
    documented = [
        line.split()[0].rstrip("/")
        for line in text.split("workflow/cellfarm/\n", 1)[1].splitlines()
        if line.startswith("    ") and line.split()[0].endswith("/")
    ]
    folders = [name for name in ORDER if (PACKAGE / name).is_dir()]
    assert [name for name in documented if name in folders] == folders
    assert set(documented) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | set(
        APART
    )


def test_what_runs_elsewhere_imports_nothing_of_the_orchestrator():
    for folder in APART:
        for path in (PACKAGE / folder).rglob("*.py"):
            assert "cellfarm." not in " ".join(
                line
                for line in path.read_text("utf-8").splitlines()
                if "import" in line.split()[:1]
            ), path


def test_two_modules_of_one_name_play_the_same_part():
    places = defaultdict(list)
    for _, path in modules():
        if path.stem not in PARTS and path.parent.name != "cli":
            places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_a_start_imports_nothing_slow():
    """Every `snakemake` and `snakemake -n` waits for the imports of planning."""
    code = (
        "import sys; import cellfarm.snakemake.pipeline, cellfarm.snakemake.running;"
        "from cellfarm.base.project import Project;"
        "from cellfarm.wanted.configuration import load_file; load_file(Project.here());"
        "print(*({'numpy', 'scipy', 'duckdb', 'paramiko', 'adbutils', 'altair'} & set(sys.modules)))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parents[1], capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert completed.stdout.split() == []


def test_the_docs_name_files_of_the_package_that_exist():
    root = PACKAGE.parents[1]
    pages = [
        root / "README.md",
        root / "SECURITY.md",
        root / "config/README.md",
        *root.glob("docs/*.md"),
    ]
    named = {
        name
        for page in pages
        for name in re.findall(
            r"workflow/cellfarm/[\w/.@-]+\.\w+", page.read_text(encoding="utf-8")
        )
    }
    missing = {name for name in named if not (root / name).exists()}
    assert missing == {"workflow/cellfarm/passes/scale_layer.py"}  # written along with the page
