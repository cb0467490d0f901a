"""The state of each device in `cellfarm farm` and `cellfarm devices`."""

from __future__ import annotations

import json
import os

import pytest
from cellfarm.base.errors import PermanentDeviceError
from cellfarm.cli.devices import print_devices
from cellfarm.cli.farm import farm_table, watch
from cellfarm.devices import refuse_low_battery
from cellfarm.devices.activity import ATTENTION, IDLE, DeviceState, read_state
from rich.console import Console

from tests.support.projects import make_project, write_yaml
from tests.support.results import make_device


@pytest.fixture
def project(tmp_path):
    project = make_project(tmp_path)
    for name in ("phone_1", "phone_2"):
        device = {"name": name, "transport": "adb", "address": {"serial": f"{name}:1"}}
        device |= {"work_folder": "/data/local/tmp/cellfarm", "processors": ["cpu"]}
        write_yaml(project.devices / f"{name}.yaml", device)
    return project


def table_text(project) -> str:
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(farm_table(project))
    return console.export_text()


def line_of(project, device: str) -> str:
    return next(line for line in table_text(project).splitlines() if device in line)


def test_a_device_at_work_is_shown_with_what_it_does(project):
    assert IDLE in line_of(project, "phone_1")
    state = DeviceState(project, "phone_1")
    state.write(
        "measuring", model="m", doing="ncnn@1 t1, round 3", done=2, total=9, temperature_c=41.2
    )
    line = line_of(project, "phone_1")
    for part in ("measuring", "ncnn@1 t1, round 3", "2 of 9", "41 °C"):
        assert part in line
    assert IDLE in line_of(project, "phone_2")
    state.write("measuring", temperature_c=None)
    state.write("waiting")
    assert "n/a" in line_of(project, "phone_1")  # an unknown temperature is not 0
    state.write(IDLE)
    assert "2 of 9" not in line_of(project, "phone_1")


def test_a_process_that_is_gone_measures_nothing(project):
    DeviceState(project, "phone_1").write("measuring", done=0, total=1)
    path = project.results / "devices/phone_1.state.json"
    state = json.loads(path.read_text()) | {"pid": 2**22 + 1}
    path.write_text(json.dumps(state))
    assert read_state(project, "phone_1")["state"] == "interrupted"
    path.write_text(json.dumps(state | {"state": ATTENTION}))
    assert read_state(project, "phone_1")["state"] == ATTENTION
    path.write_text("{torn")
    assert read_state(project, "phone_1") == {}


def test_the_same_state_is_not_written_for_every_launch(project):
    state = DeviceState(project, "phone_1")
    for count in range(100):
        state.write("measuring", done=count, total=100)
    assert read_state(project, "phone_1")["done"] < 99
    state.write(IDLE, done=100)
    assert read_state(project, "phone_1")["done"] == 100


def test_names_from_a_file_are_no_markup(project):
    DeviceState(project, "phone_1").write("lost", doing="[red]x[/]", done=0, total=1)
    assert "[red]x[/]" in line_of(project, "phone_1")


def test_off_a_terminal_it_is_printed_once(project, capsys):
    watch(project, once=False)
    assert "phone_2" in capsys.readouterr().out


def test_devices_says_which_cannot_be_used_and_which_need_attention(project, capsys):
    for name in ("phone_1", "phone_2"):
        path = project.devices / f"{name}.yaml"
        path.write_text(path.read_text() + "out_of_service: its screen is broken\n")
    DeviceState(project, "phone_2").write(ATTENTION, doing="the device is offline")
    print_devices(project)
    output = capsys.readouterr().out
    assert "phone_1: out of service: its screen is broken" in output
    assert "phone_2 needs attention: it dropped out of a run (the device is offline)" in output
    assert "ready" in next(line for line in output.splitlines() if "host" in line)


def test_a_low_battery_is_refused_and_an_unknown_one_is_not():
    device = make_device(transport="local", work_folder="results/work/x",
                         limits={"battery_percent": 30})  # fmt: skip
    refuse_low_battery(device, {"battery_percent": 30})
    refuse_low_battery(device, {"battery_percent": None})
    with pytest.raises(PermanentDeviceError, match=r"29 %, below its limit of 30 %"):
        refuse_low_battery(device, {"battery_percent": 29})
    with pytest.raises(PermanentDeviceError, match="limit of 15 %"):
        refuse_low_battery(make_device(), {"battery_percent": 3})
