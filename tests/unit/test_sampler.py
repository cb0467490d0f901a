"""The sampler: a child process that must never hang, leak or outlive what it watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runner_modules import (
    NONSENSE,
    PHONE,
    RUNNER,
    WORKSTATION,
    runner_module,
    write_tree,
)

sampler = runner_module("sampler")
probes = runner_module("probes")

NOTHING = {"t_s": [], "metrics": {}, "interval_s": None, "cpu_share": None, "power_meter": None}


def wait_until(condition) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.005)


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_this_process_is_watched():
    began_s = time.monotonic()
    watcher = sampler.Sampler(0.01)
    used_s = time.process_time()
    while time.process_time() < used_s + 0.1:
        pass
    readings = watcher.stop()
    times = readings["t_s"]
    assert len(times) >= 2 and times == sorted(times)
    assert began_s <= times[0] and times[-1] <= time.monotonic()
    assert all(len(values) == len(times) for values in readings["metrics"].values())
    assert max(readings["metrics"]["cpu_utilisation"]) > 0
    assert min(readings["metrics"]["rss_mb"]) > 1
    assert 0 <= readings["cpu_share"] < 1 and readings["interval_s"] >= 0.01
    json.dumps(readings, allow_nan=False)


def test_stopping_leaves_no_child_and_no_files_behind():
    before = open_files()
    watcher = sampler.Sampler(10)  # far from its next reading when it is stopped
    child = watcher.child
    readings = watcher.stop()
    assert len(readings["t_s"]) == 1
    assert not Path(f"/proc/{child}").exists(), "a zombie"
    assert open_files() == before
    assert watcher.stop() == NOTHING


def test_a_phone(tmp_path):
    root = write_tree(tmp_path, PHONE)
    readings = sampler.Sampler(0.01, [4], pid=77, root=root).stop()
    assert {name: values[-1] for name, values in readings["metrics"].items()} == {
        "cpu_utilisation": 0,
        "steal": 0,
        "other_cpu_utilisation": 0,
        "cpu_pressure": 0,
        "rss_mb": 2560 * os.sysconf("SC_PAGE_SIZE") / (1 << 20),
        "frequency_policy0_mhz": 1800,
        "frequency_policy4_mhz": 2400,
        "temperature_cpu_0_0_usr_c": 41.5,
        "temperature_soc_max_c": 43,
        "temperature_soc_max_2_c": 44,
        "battery_percent": 77,
        "battery_current_a": 0.5,
        "battery_voltage_v": 4,
        "power_w": 2,
    }
    assert readings["power_meter"] == "battery"


def test_what_changes_is_read_anew(tmp_path):
    root = write_tree(tmp_path, WORKSTATION)
    probe_set = probes.Probes(77, [], root)
    names = probe_set.names
    first = dict(zip(names, probe_set.read(0.0), strict=True))
    write_tree(tmp_path, {"proc/stat": "cpu  200 20 30 4000 50 6 7 0 0 0\n",
                          "sys/class/powercap/intel-rapl:0/energy_uj": "3000000\n"})  # fmt: skip
    second = dict(zip(names, probe_set.read(1.0), strict=True))
    ticks = os.sysconf("SC_CLK_TCK")
    assert second["busy_s"] - first["busy_s"] == pytest.approx(100 / ticks)
    assert second["energy_j"] - first["energy_j"] == pytest.approx(2)
    assert probe_set.power_meter == "rapl"


@pytest.mark.parametrize("files", [{}, NONSENSE], ids=["nothing", "nonsense"])
def test_a_system_that_tells_nothing(tmp_path, files):
    readings = sampler.Sampler(0.01, pid=77, root=write_tree(tmp_path, files)).stop()
    assert readings["t_s"]
    assert not set(readings["metrics"]) - {"rss_mb"}
    json.dumps(readings, allow_nan=False)


def test_of_too_many_zones_and_domains_the_telling_ones_are_watched(tmp_path):
    files = {}
    for number in range(40):
        name = "cpu-big" if number == 39 else f"pmic{number:02}"
        files[f"sys/class/thermal/thermal_zone{number}/type"] = name
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = "40000"
        files[f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_cur_freq"] = "1000000"
    root = write_tree(tmp_path, files)
    zones = probes.watched_zones(root)
    assert len(zones) == probes.MAX_ZONES and "cpu_big" in zones
    policies = probes.watched_policies([38, 39], root)
    assert len(policies) == probes.MAX_POLICIES and {"policy38", "policy39"} <= set(policies)


def test_a_killed_child_gives_nothing_and_blocks_nothing():
    watcher = sampler.Sampler(0.01)
    os.kill(watcher.child, signal.SIGKILL)
    assert watcher.stop() == NOTHING


def test_a_stopped_child_is_given_up(monkeypatch):
    monkeypatch.setattr(sampler, "_STOP_TIMEOUT_S", 0.2)
    watcher = sampler.Sampler(0.01)
    child = watcher.child
    os.kill(child, signal.SIGSTOP)
    assert watcher.stop() == NOTHING
    assert not Path(f"/proc/{child}").exists()


def test_a_child_that_somebody_else_waited_for():
    watcher = sampler.Sampler(0.01)
    os.kill(watcher.child, signal.SIGKILL)
    os.waitpid(watcher.child, 0)
    assert watcher.stop() == NOTHING


def test_it_stops_although_a_fork_of_the_library_holds_its_pipe():
    watcher = sampler.Sampler(10)
    other = os.fork()
    if other == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert len(watcher.stop()["t_s"]) == 1
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


@pytest.mark.parametrize("interval_s", [0.02, 30])
def test_it_ends_with_the_process_that_it_watches(interval_s):
    code = (
        "import os, sampler, sys, time\n"
        f"print(sampler.Sampler({interval_s}).child, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(RUNNER)},
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        assert parent.stdout.read() == "", "and holds nothing of its parent's open"
    wait_until(lambda: has_ended(child))


def test_it_keeps_off_the_measured_cores():
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one processor")
    watcher = sampler.Sampler(0.01, avoid_cores=cores[:1])
    try:
        wait_until(lambda: os.sched_getaffinity(watcher.child) == set(cores[1:]))
    finally:
        watcher.stop()
    everywhere = sampler.Sampler(0.01, avoid_cores=cores)
    assert everywhere.stop()["t_s"], "no core is left: it runs beside"


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(sampler, "MAX_ROWS", 16)
    monkeypatch.setattr(sampler, "MAX_CPU_SHARE", 1e9)
    watcher = sampler.Sampler(0.001)
    time.sleep(0.2)
    readings = watcher.stop()
    assert 1 < len(readings["t_s"]) <= 16
    assert readings["interval_s"] > 0.001
    assert readings["t_s"] == sorted(readings["t_s"])


def test_it_reads_less_often_when_reading_is_dear(monkeypatch):
    monkeypatch.setattr(sampler, "MAX_CPU_SHARE", 0.0)
    watcher = sampler.Sampler(0.001)
    time.sleep(0.3)
    assert watcher.stop()["interval_s"] > 0.001


def test_rates_hold_for_the_time_since_the_row_before():
    names = ["process_s", "sampler_s", "busy_s", "pressure_s", "rss_mb"]
    rows = [
        [0.0, 5.0, 0.0, 100.0, None, 7.0],
        [1.0, 6.0, 0.1, 101.6, None, 8.0],
        [3.0, 7.0, 0.2, 103.6, None, None],
    ]
    assert sampler._metrics(names, rows) == {
        "cpu_utilisation": [1.0, 0.5],
        "other_cpu_utilisation": [0.5, 0.45],
        "rss_mb": [8.0, None],
    }


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.floats(0, 0.01)), max_size=30))
def test_the_use_by_others_is_never_negative_and_right_in_the_mean(rows):
    busy, process, sampler_use = (
        (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 3
    )
    others = sampler._others(busy, process, sampler_use)
    assert all(value >= 0 for value in others)
    assert sum(others) >= sum(busy) - sum(process) - sum(sampler_use) - 1e-6


READINGS = {
    "t_s": [1.0, 2.0, 3.0],
    "interval_s": 1.0,
    "metrics": {"power_w": [2.0, 4.0, 6.0]},
}


@pytest.mark.parametrize(
    ("start_s", "end_s", "idle_w", "expected"),
    [
        (0.0, 3.0, 0.0, 12_000),
        (0.0, 3.0, 1.0, 9_000),
        (1.5, 2.5, 1.0, 4_000),  # half of each of two rows
        (0.0, 3.0, None, None),
        (2.0, 4.0, 1.0, None),  # half of the time has no reading
        (2.0, 2.0, 1.0, None),
    ],
)
def test_energy_above_the_idle_devices(start_s, end_s, idle_w, expected):
    energy_mj = sampler.energy_mj(READINGS, start_s, end_s, idle_w)
    assert energy_mj is None if expected is None else energy_mj == pytest.approx(expected)


def test_no_energy_without_a_meter():
    assert sampler.energy_mj({"t_s": [1.0], "interval_s": 1, "metrics": {}}, 0, 1, 0.0) is None
    assert sampler.energy_mj(NOTHING, 0, 1, 0.0) is None
    unknown = READINGS | {"metrics": {"power_w": [None, None, 6.0]}}
    assert sampler.energy_mj(unknown, 0.0, 3.0, 0.0) is None
