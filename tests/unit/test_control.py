"""Cores are chosen and governors are set; governors are restored, even after kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from cellfarm.base.errors import PermanentDeviceError
from cellfarm.base.project import PACKAGE
from cellfarm.devices.control import GovernorControl, choose_cores, parse_cores, read_siblings
from cellfarm.experiments import run
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runner_modules import write_tree

PHONE = [
    {"cores": "7", "max_khz": 3_000_000.0},
    {"cores": "4-6", "max_khz": 2_500_000.0},
    {"cores": "0 1 2 3", "max_khz": 1_800_000.0},
]
FREQUENCY = "sys/devices/system/cpu/cpufreq"


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(1, [7]), (2, [6, 7]), (4, [4, 5, 6, 7]), (5, [3, 4, 5, 6, 7]), (8, [*range(8)]), (9, None)],
)
def test_the_fastest_cores_of_a_phone(threads, expected):
    assert choose_cores(PHONE, threads, range(8)) == expected
    assert choose_cores(PHONE[::-1], threads, None) == expected


def test_a_container_has_fewer_cores():
    assert choose_cores(PHONE, 2, [0, 1, 5]) == [1, 5]
    assert choose_cores(PHONE, 4, [0, 1, 5]) is None


@pytest.mark.parametrize("clusters", [None, [], [{"cores": None, "max_khz": None}]])
def test_equal_cores(clusters):
    assert choose_cores(clusters, 2, range(4)) == [2, 3]
    assert choose_cores(clusters, 1, [0]) == [0]
    assert choose_cores(clusters, 2, None) is None


def test_a_core_of_no_known_cluster_comes_last():
    assert choose_cores([{"cores": "0-1", "max_khz": None}], 2, range(4)) == [0, 1]


def test_virtual_processors_that_share_a_core_are_not_taken_together():
    pairs = [[0, 1], [2, 3], [4, 5]]
    assert choose_cores(None, 2, range(6), pairs) == [3, 5]
    assert choose_cores(None, 3, range(6), pairs) == [1, 3, 5]
    assert choose_cores(None, 4, range(6), pairs) == [1, 3, 4, 5]


@given(
    threads=st.integers(0, 12),
    allowed=st.sets(st.integers(0, 11)),
    fast=st.sets(st.integers(0, 11)),
)
def test_exactly_as_many_allowed_cores_as_threads(threads, allowed, fast):
    clusters = [{"cores": " ".join(map(str, sorted(fast))), "max_khz": 2e6}]
    chosen = choose_cores(clusters, threads, allowed)
    assert (chosen is None) == (not 1 <= threads <= len(allowed))
    if chosen is not None:
        assert len(set(chosen)) == threads and set(chosen) <= allowed
        assert chosen == sorted(chosen)
        unused_fast = (fast & allowed) - set(chosen)
        assert not unused_fast or set(chosen) <= fast


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("0-3 7", [0, 1, 2, 3, 7]),
        ("0 1 2 3", [0, 1, 2, 3]),
        ("4,6-7\n", [4, 6, 7]),
        ("", []),
        (None, []),
        (3, []),
        ("nonsense 5-", []),
        ("0-999999999", []),
    ],
)
def test_lists_of_cores(text, cores):
    assert parse_cores(text) == cores


def test_siblings(tmp_path):
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    texts = {0: "0,2\n", 1: "1\n", 2: "0,2\n", 3: "garbage"}
    write_tree(tmp_path, {topology.format(core): text for core, text in texts.items()})
    assert read_siblings(tmp_path) == [[0, 2]]
    assert read_siblings(tmp_path / "nothing") == []


@pytest.fixture
def tree(tmp_path) -> Path:
    files = {}
    for policy, governor in {"policy0": "schedutil", "policy4": "ondemand"}.items():
        files[f"{FREQUENCY}/{policy}/scaling_governor"] = governor + "\n"
        files[f"{FREQUENCY}/{policy}/scaling_available_governors"] = (
            "performance schedutil ondemand\n"
        )
    write_tree(tmp_path / "root", files)
    return tmp_path / "root"


def governors(tree: Path) -> dict[str, str]:
    files = (tree / FREQUENCY).glob("*/scaling_governor")
    return {file.parent.name: file.read_text().strip() for file in files}


BEFORE = {"policy0": "schedutil", "policy4": "ondemand"}
PERFORMANCE = dict.fromkeys(BEFORE, "performance")


def test_set_and_put_back(tree, tmp_path):
    control = GovernorControl(tree, tmp_path / "work" / "governor.json")
    assert control.set("performance") == {
        "governor": "performance",
        "reason": None,
        "set": BEFORE,
        "refused": {},
    }
    assert governors(tree) == PERFORMANCE
    assert control.restore_file.exists()
    assert control.restore() == {}
    assert governors(tree) == BEFORE
    assert not control.restore_file.exists()
    assert control.restore() == {}, "again, with nothing to do"


def test_setting_twice_remembers_the_first(tree, tmp_path):
    control = GovernorControl(tree, tmp_path / "governor.json")
    control.set("performance")
    GovernorControl(tree, tmp_path / "governor.json").set("performance")
    control.restore()
    assert governors(tree) == BEFORE


def test_without_frequency_control(tmp_path):
    control = GovernorControl(tmp_path, tmp_path / "governor.json")
    result = control.set("performance")
    assert (result["governor"], result["reason"]) == (None, "the system has no frequency control")
    assert not control.restore_file.exists()


def test_a_governor_that_is_not_offered(tree, tmp_path):
    control = GovernorControl(tree, tmp_path / "governor.json")
    result = control.set("turbo")
    assert result["governor"] is None and "turbo is not offered" in result["reason"]
    assert set(result["refused"]) == set(BEFORE) and result["set"] == {}
    assert governors(tree) == BEFORE and not control.restore_file.exists()


def test_what_is_set_already_is_left_alone(tree, tmp_path):
    write_tree(tree, {f"{FREQUENCY}/{policy}/scaling_governor": "performance" for policy in BEFORE})
    control = GovernorControl(tree, tmp_path / "governor.json")
    assert control.set("performance")["governor"] == "performance"
    assert not control.restore_file.exists()


def test_one_domain_refuses(tree, tmp_path, monkeypatch):
    refuse(monkeypatch, "policy4")
    control = GovernorControl(tree, tmp_path / "governor.json")
    result = control.set("performance")
    assert result["governor"] is None and result["reason"] == "not permitted"
    assert (result["set"], result["refused"]) == (
        {"policy0": "schedutil"},
        {"policy4": "not permitted"},
    )
    assert control.restore() == {} and governors(tree) == BEFORE


def test_all_domains_refuse(tree, tmp_path, monkeypatch):
    refuse(monkeypatch, "policy0", "policy4")
    control = GovernorControl(tree, tmp_path / "governor.json")
    assert control.set("performance")["reason"] == "not permitted"
    assert not control.restore_file.exists(), "nothing was changed, nothing has to be put back"


def test_a_system_that_takes_the_word_and_does_nothing(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("cellfarm.devices.control._write", lambda file, governor: "it answers x")
    control = GovernorControl(tree, tmp_path / "governor.json")
    assert control.set("performance")["reason"] == "it answers x"


def test_what_cannot_be_put_back_is_kept_for_later(tree, tmp_path, monkeypatch):
    control = GovernorControl(tree, tmp_path / "governor.json")
    control.set("performance")
    with monkeypatch.context() as patch:
        refuse(patch, "policy4")
        assert control.restore() == {"policy4": "not permitted"}
    assert governors(tree) == {"policy0": "schedutil", "policy4": "performance"}
    assert control.restore() == {} and governors(tree) == BEFORE


def test_what_somebody_changed_meanwhile_is_theirs(tree, tmp_path):
    control = GovernorControl(tree, tmp_path / "governor.json")
    control.set("performance")
    write_tree(tree, {f"{FREQUENCY}/policy0/scaling_governor": "powersave\n"})
    control.restore()
    assert governors(tree) == {"policy0": "powersave", "policy4": "ondemand"}


def test_a_domain_that_is_gone_is_no_obstacle(tree, tmp_path):
    control = GovernorControl(tree, tmp_path / "governor.json")
    control.set("performance")
    (tree / FREQUENCY / "policy4" / "scaling_governor").unlink()
    assert control.restore() == {} and not control.restore_file.exists()
    assert governors(tree) == {"policy0": "schedutil"}


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"policy0": 1}'])
def test_a_strange_restore_file_blocks_nothing(tree, tmp_path, text):
    control = GovernorControl(tree, tmp_path / "governor.json")
    control.restore_file.write_text(text)
    control.restore()
    assert governors(tree) == BEFORE and not control.restore_file.exists()
    assert control.set("performance")["governor"] == "performance"


def test_nothing_is_changed_that_cannot_be_remembered(tree, tmp_path):
    (tmp_path / "work").write_text("no folder")
    with pytest.raises(OSError):
        GovernorControl(tree, tmp_path / "work" / "governor.json").set("performance")
    assert governors(tree) == BEFORE


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_killed_in_the_middle(tree, tmp_path, moment):
    """Kill the process before the first domain, between two, or after the last."""
    code = f"""
        import os, signal
        from pathlib import Path
        from cellfarm.devices import control
        write, written = control._write, []
        def killed(file, governor):
            if len(written) == {["before", "between", "after"].index(moment)}:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(file)
            return write(file, governor)
        control._write = killed
        governor_control = control.GovernorControl(
            Path({str(tree)!r}), Path({str(tmp_path / "restore")!r})
        )
        governor_control.set("performance")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert completed.returncode == -9
    changed = sum(governor == "performance" for governor in governors(tree).values())
    assert changed == ["before", "between", "after"].index(moment)
    assert set(json.loads((tmp_path / "restore").read_text())) == set(BEFORE)
    GovernorControl(tree, tmp_path / "restore").restore()
    assert governors(tree) == BEFORE
    assert not (tmp_path / "restore").exists()


def refuse(monkeypatch, *policies: str) -> None:
    """Refuse writes as /sys does to users other than root; the tests may run as root."""
    original_open = Path.open

    def refusing_open(path, mode="r", *args, **kwargs):
        if "w" in mode and path.parent.name in policies:
            raise PermissionError(13, "Permission denied")
        return original_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing_open)


def test_an_experiment_reads_the_facts_after_governors_were_put_back():
    """Otherwise the governor left by a killed run would be recorded as the device's own."""
    calls = []

    class Device:
        is_host = True

        def prepare(self):
            calls.append("prepare")

        def facts(self):
            calls.append("facts")
            raise PermanentDeviceError("enough")

    experiment = SimpleNamespace(progress=SimpleNamespace(waiting_for_host=calls.append))
    with pytest.raises(PermanentDeviceError, match="enough"):
        run.measure(experiment, Device(), 0, lambda act: act(), {})
    assert calls == ["prepare", "facts"]
