"""Readings of a system, from trees of files like those of real systems. Unknown values are None."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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

system = runner_module("system")
sensors = runner_module("sensors")


def test_a_phone(tmp_path):
    root = write_tree(tmp_path, PHONE)
    assert system.machine_jiffies(root) == (100 + 20 + 30 + 6 + 7, 8)
    assert system.load_average(root) == 1.5
    assert system.pressure_us(root) == 123456
    assert (system.rss_mb(root), system.peak_rss_mb(root)) == (100, 200)
    assert system.migrations(root) == {"10": 3, "11": 4}
    assert sensors.frequencies_mhz(root) == {"policy0": 1800, "policy4": 2400}
    assert sensors.policies(root) == ["policy0", "policy4", "policy10"]
    assert sensors.governor(root) == "performance, schedutil"
    assert sensors.temperatures(root) == {"cpu_0_0_usr": 41.5, "soc_max": 43, "soc_max_2": 44}
    assert sensors.battery(root) == {
        "percent": 77,
        "status": "Discharging",
        "current_a": 0.5,
        "voltage_v": 4,
        "power_w": 2,
    }


def test_another_process(tmp_path):
    root = write_tree(tmp_path, PHONE)
    ticks = os.sysconf("SC_CLK_TCK")
    assert system.process_s(77, root) == pytest.approx(200 / ticks)  # its name holds brackets
    assert system.process_s(78, root) is None


@pytest.mark.parametrize("files", [{}, NONSENSE], ids=["nothing", "nonsense"])
def test_a_system_that_tells_nothing(tmp_path, files):
    root = write_tree(tmp_path, files)
    for read in (system.machine_jiffies, system.pressure_us, system.load_average, sensors.governor):
        value = read(root)
        assert value is None or isinstance(value, str | float)
    assert system.rss_mb(root) is None and system.peak_rss_mb(root) is None
    assert system.process_s(77, root) is None
    assert sensors.temperatures(root) == {} and sensors.frequencies_mhz(root) == {}
    assert not system.reset_peak(root)
    battery = sensors.battery(root)
    assert battery is None or battery["power_w"] is None
    before = system.snapshot(root)
    difference = system.difference(before, system.snapshot(root))
    for name in ("other_cpu_utilisation", "steal", "cpu_pressure"):
        assert difference[name] is None, name
    if not files:
        assert difference["migrations"] is None and battery is None
        assert sensors.Rapl(root).energy_j() is None


@pytest.mark.parametrize(
    ("changes", "current_a", "power_w"),
    [
        ({"status": "Charging\n"}, None, None),  # the charger's current
        ({"status": "Full\n"}, None, None),
        ({"current_now": "500000\n"}, 0.5, 2),  # vendors differ in the sign
        ({"current_now": "-500\n"}, None, None),  # thousandths: half a milliampere runs no phone
        ({"voltage_now": "4000\n"}, 0.5, None),
        ({"current_now": "\n"}, None, None),
    ],
)
def test_power_is_known_while_the_battery_alone_feeds_the_device(
    tmp_path, changes, current_a, power_w
):
    supply = "sys/class/power_supply/battery/"
    root = write_tree(tmp_path, PHONE | {supply + name: text for name, text in changes.items()})
    battery = sensors.battery(root)
    assert (battery["current_a"], battery["power_w"]) == (current_a, power_w)


def test_the_battery_of_a_mouse_is_not_the_devices(tmp_path):
    mouse = {"type": "Battery\n", "scope": "Device\n", "capacity": "5\n"}
    root = write_tree(
        tmp_path, {f"sys/class/power_supply/hid-1/{name}": text for name, text in mouse.items()}
    )
    assert sensors.battery(root) is None


def test_energy_counters_of_packages_add_up_and_wrap(tmp_path):
    root = write_tree(tmp_path, WORKSTATION)
    rapl = sensors.Rapl(root)
    assert rapl.exists and rapl.energy_j() == 0
    write_tree(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "4000000\n"})
    assert rapl.energy_j() == pytest.approx(3)
    write_tree(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "500000\n"})
    assert rapl.energy_j() == pytest.approx(3 + 1.5)
    write_tree(tmp_path, {"sys/class/powercap/intel-rapl:1/energy_uj": "gone\n"})
    assert rapl.energy_j() is None


def test_a_difference_of_counters():
    before = {
        "wall_s": 10.0,
        "process_s": 1.0,
        "machine": (100, 0),
        "voluntary_switches": 5,
        "involuntary_switches": 1,
        "migrations": {"1": 5, "2": 7},
        "pressure_us": 0,
    }
    ticks = os.sysconf("SC_CLK_TCK")
    after = {
        "wall_s": 12.0,
        "process_s": 3.0,
        "machine": (100 + 3 * ticks, ticks),
        "voluntary_switches": 9,
        "involuntary_switches": 1,
        "migrations": {"1": 6, "3": 2},  # thread 2 has ended, thread 3 is new
        "pressure_us": 500_000,
    }
    assert system.difference(before, after) == {
        "cpu_utilisation": 1.0,
        "other_cpu_utilisation": 0.5,
        "steal": 0.5,
        "voluntary_switches": 4,
        "involuntary_switches": 0,
        "migrations": 3,
        "cpu_pressure": 0.25,
    }
    unchanged = system.difference(before, before)
    assert unchanged["cpu_utilisation"] is None and unchanged["cpu_pressure"] is None


def test_this_process():
    before = system.snapshot()
    assert system.rss_mb() and system.peak_rss_mb() >= system.rss_mb()
    while time.process_time() < before["process_s"] + 0.02:
        pass
    after = system.snapshot()
    assert system.difference(before, after)["cpu_utilisation"] > 0
    assert system.process_s(os.getpid()) >= after["process_s"]


def test_the_peak_starts_anew():
    """In a process of its own, so that the peak of the tests' process is not reset."""
    code = (
        "import system\n"
        "data = bytearray(b'x') * (200 << 20)\n"
        "before = system.peak_rss_mb()\n"
        "del data\n"
        "print(before, system.reset_peak(), system.peak_rss_mb())\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(RUNNER)},
    )
    before, was_reset, after = completed.stdout.split()
    if was_reset != "True":
        pytest.skip("this kernel does not reset the peak")
    assert float(before) > 200 > float(after)


@given(st.text(max_size=200))
def test_parsers_take_anything(text):
    assert system.parse_jiffies(text) is None or len(system.parse_jiffies(text)) == 2
    assert system.parse_pressure(text) is None or system.parse_pressure(text) >= 0
    for read in (sensors.temperature_c, sensors.frequency_mhz):
        value = read(text)
        assert value is None or 0 < value < 1e5
    battery = sensors.battery_at(lambda _: text)
    assert battery["power_w"] is None
