"""Device facts are read from trees of files like those of real systems; an unknown fact is None."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.devices.facts import FINGERPRINT, fingerprint, read_local

from tests.support.runner_modules import write_tree

X86 = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU @ 2.00GHz\n"
    "flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f unheard_of\n\n"
    "processor\t: 1\nmodel name\t: Example CPU @ 2.00GHz\nflags\t\t: fpu\n",
    "proc/meminfo": "MemTotal:       25164392 kB\nMemFree:  1 kB\n",
    "proc/loadavg": "0.25 0.10 0.05 1/200 1234\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/dmi/id/product_name": "KVM\n",
}
BOARD = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n\n"
    "processor\t: 1\nFeatures\t: fp asimd\nCPU part\t: 0xd05\n",
    "proc/meminfo": "MemTotal:        8031000 kB\n",
    "proc/device-tree/model": "Example Board Rev 2\0",
    "sys/devices/soc0/machine": "SoC-9000\n",
    "sys/devices/system/cpu/cpufreq/policy0/related_cpus": "0 1 2 3\n",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1800000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy4/related_cpus": "4 5\n",
    "sys/devices/system/cpu/cpufreq/policy4/cpuinfo_max_freq": "2400000\n",
    "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48500\n",
    "sys/class/thermal/thermal_zone1/type": "broken\n",
    "sys/class/thermal/thermal_zone1/temp": "n/a\n",
    "sys/class/power_supply/BAT0/capacity": "77\n",
}


def facts_of(root: Path, files: dict[str, str]) -> dict[str, Any]:
    write_tree(root, files)
    return read_local(root)


def test_a_workstation(tmp_path):
    facts = facts_of(tmp_path, X86)
    assert facts["cpu"] == "Example CPU @ 2.00GHz"
    assert facts["isa"] == ["avx", "avx2", "avx512f", "f16c", "fma", "sse4_2"]
    assert facts["memory_gb"] == 24
    assert facts["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert (facts["model"], facts["soc"], facts["load_1min"]) == ("KVM", None, 0.25)
    assert facts["clusters"] is None and facts["frequency_control"] is False


def test_a_board_with_two_clusters(tmp_path):
    facts = facts_of(tmp_path, BOARD)
    assert facts["model"] == "Example Board Rev 2"
    assert (facts["soc"], facts["cpu"]) == ("SoC-9000", "CPU parts 0xd05, 0xd0b")
    assert facts["isa"] == ["asimd", "asimddp"]
    assert facts["clusters"] == [
        {"cores": "4 5", "max_khz": 2_400_000.0},
        {"cores": "0 1 2 3", "max_khz": 1_800_000.0},
    ]
    assert (facts["governor"], facts["frequency_control"]) == ("schedutil", True)
    assert facts["thermal_zones"] == {"thermal_zone0:soc-thermal": 48.5}
    assert (facts["battery_percent"], facts["memory_gb"]) == (77.0, 8)


def test_a_system_that_tells_nothing(tmp_path):
    facts = facts_of(tmp_path, {})
    for name in (
        "model",
        "soc",
        "clusters",
        "memory_gb",
        "governor",
        "battery_percent",
        "load_1min",
    ):
        assert facts[name] is None, name
    assert facts["isa"] == [] and facts["thermal_zones"] == {}
    assert facts["cores"] >= 1, "planning needs a number of cores"


def test_this_machine_answers_everything_that_planning_needs():
    facts = read_local()
    assert facts["cores"] >= 1 and facts["architecture"] and facts["kernel"]
    assert set(FINGERPRINT) <= set(facts)


@pytest.mark.parametrize(
    ("name", "text", "matters"),
    [
        ("proc/loadavg", "7.00 1 1 1/1 1\n", False),
        ("sys/class/power_supply/BAT0/capacity", "3\n", False),
        ("sys/class/thermal/thermal_zone0/temp", "91000\n", False),
        ("proc/meminfo", "MemTotal:        8031999 kB\n", False),  # the kernel's share, not the RAM
        ("proc/meminfo", "MemTotal:       16031000 kB\n", True),
        ("etc/os-release", 'PRETTY_NAME="Another build"\n', True),
        ("proc/cpuinfo", "Features : asimd\nCPU part : 0xd0c\n", True),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1500000\n", True),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fingerprint_changes_with_the_hardware_and_system_only(tmp_path, name, text, matters):
    before = fingerprint(facts_of(tmp_path, X86 | BOARD))
    after = fingerprint(facts_of(tmp_path, {name: text}))
    assert (before != after) == matters


def test_a_fingerprint_names_every_fact_even_unknown_ones():
    assert fingerprint({}) == dict.fromkeys(FINGERPRINT)


@pytest.mark.parametrize(
    ("files", "percent"),
    [
        ({"battery/type": "Battery\n", "battery/capacity": "83\n"}, 83.0),  # a phone's
        ({"bms/capacity": "60\n"}, 60.0),  # a kernel without a type
        ({"usb/type": "USB\n", "usb/capacity": "1\n"}, None),
        ({"hid/type": "Battery\n", "hid/scope": "Device\n", "hid/capacity": "9\n"}, None),
    ],
)
def test_the_battery_is_the_device_s_own(tmp_path, files, percent):
    tree = {f"sys/class/power_supply/{name}": text for name, text in files.items()}
    assert facts_of(tmp_path, tree)["battery_percent"] == percent
