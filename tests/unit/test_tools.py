"""How the paths of vendors' tools change keys, and the message about a missing tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.libraries import all_libraries
from cellfarm.planning.causes import Causes, payload_code
from cellfarm.planning.chains import Chains
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import look
from cellfarm.planning.plan import Plan, load, save
from cellfarm.wanted import tools
from cellfarm.wanted.configuration import load as load_configuration

from tests.support.projects import CONFIG, make_project, write_yaml
from tests.support.results import FACTS, make_cell

MACE, QNN = all_libraries()["mace"], all_libraries()["qnn"]


@pytest.fixture
def mace(tmp_path) -> dict[str, str]:
    """A source tree and a mace_run."""
    scripts = tmp_path / "mace" / "tools" / "python"
    scripts.mkdir(parents=True)
    (scripts / "convert.py").write_text("one")
    (tmp_path / "mace_run").write_text("program")
    (tmp_path / "mace_run").chmod(0o755)
    return {"source": str(tmp_path / "mace"), "run": str(tmp_path / "mace_run")}


def causes_of(project: Project, **changes: Any) -> dict[str, str]:
    """The causes of the latency of the config's one cell."""
    config = CONFIG | {"libraries": ["ncnn"]} | changes
    configuration = load_configuration(project, config, "test")
    chains = Chains(project, configuration)
    (library,) = config["libraries"]
    cell = make_cell(library=library, library_version=all_libraries()[library].default_version)
    return Causes(project, configuration, {"host": FACTS}, chains).of(cell, "latency")


def converter_and_library(project: Project, mace: dict[str, str]) -> tuple[str, str]:
    tools = {"tools": {"mace": mace}} if mace else {}
    causes = causes_of(project, libraries=["mace"], **tools)
    return causes["converter"], causes["library"]


def test_what_converts_and_what_runs_are_apart(tmp_path, mace) -> None:
    project = make_project(tmp_path / "project")
    before = converter_and_library(project, mace)
    assert before != converter_and_library(project, {})
    (Path(mace["source"]) / "tools/python/convert.py").write_text("two")
    converter, runtime = converter_and_library(project, mace)
    assert (converter != before[0], runtime == before[1]) == (True, True)
    Path(mace["run"]).write_text("another program")
    assert converter_and_library(project, mace)[0] == converter
    assert converter_and_library(project, mace)[1] != runtime


def test_what_a_build_leaves_in_the_tree_does_not_count(tmp_path, mace) -> None:
    before = tools.identify(mace)
    tree = Path(mace["source"])
    (tree / "tools/python/mace_pb2.py").write_text("generated")
    (tree / "README.md").write_text("words")
    (tree / "bazel-out").mkdir()
    (tree / "bazel-out/more.py").write_text("generated")
    assert tools.identify(mace) == before


def test_a_moved_tool_is_the_same_tool(tmp_path, mace) -> None:
    before = tools.identify(mace)
    moved = tmp_path / "elsewhere"
    Path(mace["run"]).rename(moved)
    assert tools.identify(mace | {"run": str(moved)}) == before


def test_settings_count_by_their_text() -> None:
    assert tools.identify({"soc_model": "43"}) != tools.identify({"soc_model": "57"})


def test_tools_of_a_device_count_for_its_cells(tmp_path) -> None:
    project = make_project(tmp_path / "project")
    (program := tmp_path / "qnn-net-run").write_text("one")

    def device(**changes: Any) -> str:
        path = project.devices / "host.yaml"
        document = {"name": "host", "transport": "local", "work_folder": "results/work/host",
                    "processors": ["cpu"]}  # fmt: skip
        write_yaml(path, document | changes)
        return causes_of(project)["device"]

    plain = device()
    changes = {"tools": {"qnn-net-run": str(program)}}
    with_first_program = device(**changes)
    program.write_text("two, longer")
    assert len({plain, with_first_program, device(**changes)}) == 3


def test_a_plan_keeps_the_tools_for_its_jobs(tmp_path, mace) -> None:
    project = make_project(tmp_path / "project")

    def planned(**more: Any) -> Plan:
        config = CONFIG | {"libraries": ["mace"]} | more
        plan = freeze(look(project, load_configuration(project, config, "test")))
        save(project, plan)
        return load(project, plan.id)

    plan = planned(tools={"mace": mace})
    assert plan.tools["mace"] == mace
    assert [step.tools for step in plan.artifact.values()] == [mace]
    assert planned().tools == {}


@pytest.mark.parametrize(
    ("tool_paths", "message"),
    [
        ({"mase": {"run": "x"}}, "no library 'mase'"),
        (
            {"mace": {"run": "/nowhere/mace_run"}},
            "key 'tools.mace.run': /nowhere/mace_run does not",
        ),
        ({"mace": {"run": 7}}, "tools"),
        ({"mace": {"run": "/etc"}}, "key 'tools.mace.run': /etc is no file that can be executed"),
        ({"mace": {"run": "/etc/passwd"}}, "is no file that can be executed"),
        (
            {"mace": {"sorce": "/etc"}},
            r"unknown \(did you mean 'source'\?\); mace knows source, run",
        ),
        ({"ncnn": {"run": "/bin/true"}}, "ncnn knows no tools"),
    ],
)
def test_mistakes_are_told_at_once(tmp_path, tool_paths, message) -> None:
    project = make_project(tmp_path / "project")
    with pytest.raises(UserError, match=message):
        load_configuration(project, CONFIG | {"tools": tool_paths}, "test")


def test_what_is_missing_is_named() -> None:
    assert tools.missing(QNN, {}, {}) is None
    assert tools.missing(MACE, {}, {}) == (
        "MACE needs source and run: give the paths under `tools:`; see docs/vendor-tools.md"
    )
    assert "needs run:" in str(tools.missing(MACE, {"source": "/x"}, {}))
    assert tools.missing(MACE, {"source": "/x", "run": "/y"}, {}) is None
    assert tools.missing(MACE, {"source": "/x"}, {"mace_run": "/on/the/device"}) is None


def test_a_tool_stays_on_this_machine() -> None:
    names = payload_code(QNN, ["operators"]).read().files.keys()
    assert {"backend.py", "profiler.py", "qnn_profile.py"} < names
    assert not {"convert.py", "tool.py"} & names
    assert QNN.tool in QNN.tool_modules
    assert not MACE.has_backend
