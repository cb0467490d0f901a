"""The gate: which limits hold back a launch; waiting is bounded and reported."""

from __future__ import annotations

import json

import pytest

from tests.support.runner_modules import PHONE, runner_module, write_tree

gate = runner_module("gate")

GOOD = {
    "other_cpu_cores": 0.0,
    "temperatures_c": {"soc": 40.0, "skin": 30.0},
    "battery_percent": 80.0,
    "calibration": {"compute_ms": 10.0, "memory_ms": 5.0},
}
LIMITS = {
    "wait_s": 60.0,
    "other_cpu_cores": 0.2,
    "temperature_rise_c": 5.0,
    "temperature_change_c": 1.0,
    "battery_percent": 20.0,
    "slowdown": 0.15,
}


class Device:
    """A device with prepared readings; its time passes only during a reading."""

    def __init__(self, monkeypatch, looks):
        self.looks = list(looks)
        self.now_s = 1000.0
        self.seconds = []
        monkeypatch.setattr(gate, "_look", self.look)
        monkeypatch.setattr(gate.time, "monotonic", lambda: self.now_s)

    def look(self, seconds, threads, cores, root):
        self.now_s += seconds + 0.02
        self.seconds.append(seconds)
        return GOOD | (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])


def wait(limits=LIMITS, **options):
    return gate.wait(
        limits, threads=2, baseline_c={"soc": 38.0, "gone": 1.0}, calibration_ms=9.0, **options
    )


def test_a_good_device_passes_at_the_first_look(monkeypatch):
    device = Device(monkeypatch, [{}])
    result = wait()
    assert (result["exceeded"], result["waited_s"], result["looks"]) == ([], 0.0, 1)
    assert sum(device.seconds) < 0.08


@pytest.mark.parametrize(
    ("look", "exceeded"),
    [
        ({"other_cpu_cores": 0.3}, ["load"]),
        ({"temperatures_c": {"soc": 43.5}}, ["temperature"]),
        ({"battery_percent": 19.0}, ["battery"]),
        ({"calibration": {"compute_ms": 10.4}}, ["speed"]),
        ({"other_cpu_cores": 0.3, "battery_percent": 5.0}, ["load", "battery"]),
        ({"other_cpu_cores": None, "temperatures_c": {}, "battery_percent": None}, []),
        ({"temperatures_c": {"unheard_of": 99.0}}, []),
    ],
)
def test_what_is_beyond_a_limit_is_named_when_the_time_is_up(monkeypatch, look, exceeded):
    Device(monkeypatch, [look])
    result = wait()
    assert result["exceeded"] == exceeded
    assert 59.0 - gate._LONGEST_LOOK_S <= result["waited_s"] <= 60.0 if exceeded else True


def test_it_passes_as_soon_as_the_limits_hold(monkeypatch):
    device = Device(monkeypatch, [{"other_cpu_cores": 0.3}] * 3 + [{}])
    result = wait()
    assert result["exceeded"] == [] and result["looks"] == 4
    assert device.seconds == [0.05, 0.1, 0.2, 0.4], "each look is longer, and so more exact"
    assert result["waited_s"] == pytest.approx(sum(device.seconds) + 4 * 0.02)


def test_a_device_that_cools_is_waited_for_until_it_is_stable(monkeypatch):
    cooling = [{"temperatures_c": {"soc": 60.0 - 2 * step}} for step in range(12)]
    Device(monkeypatch, [*cooling, {"temperatures_c": {"soc": 38.0}}])
    result = wait()
    assert result["exceeded"] == []
    assert result["temperatures_c"] == {"soc": 38.0}
    assert result["looks"] > len(cooling), "within its rise, it was still falling"


def test_limits_that_are_not_given_hold_nobody_back(monkeypatch):
    reading = {"other_cpu_cores": 9.0, "temperatures_c": {"soc": 99.0}, "battery_percent": 1.0}
    Device(monkeypatch, [reading])
    for limits in ({}, {"wait_s": 60.0}, dict.fromkeys(LIMITS)):
        assert wait(limits)["exceeded"] == []


def test_without_time_to_wait_there_is_one_look(monkeypatch):
    device = Device(monkeypatch, [{"other_cpu_cores": 9.0}])
    result = wait(LIMITS | {"wait_s": 0.0})
    assert (result["exceeded"], result["looks"], result["waited_s"]) == (["load"], 1, 0.0)
    assert len(device.seconds) == 1


def test_waiting_is_told_about_once_a_second(monkeypatch):
    Device(monkeypatch, [{"other_cpu_cores": 0.5, "battery_percent": 1.0}])
    reports = []
    result = wait(
        LIMITS | {"wait_s": 10.0},
        report=lambda limits, waited_s: reports.append((limits, waited_s)),
    )
    assert 5 <= len(reports) <= 10
    assert all(limits == ["load", "battery"] for limits, _ in reports)
    assert [waited_s for _, waited_s in reports] == sorted(waited_s for _, waited_s in reports)
    assert reports[-1][1] <= result["waited_s"]


def test_the_runners_mode(monkeypatch):
    Device(monkeypatch, [{"other_cpu_cores": 0.5}])
    events = []
    gate.run(
        {"mode": "gate", "threads": 1, "limits": {"wait_s": 3, "other_cpu_cores": 0.2},
         "baseline_c": {}, "calibration_ms": None},
        lambda event, **fields: events.append((event, fields)),
    )  # fmt: skip
    names = [event for event, _ in events]
    assert names[-1] == "gate" and set(names[:-1]) == {"waiting"}
    assert set(events[0][1]) == {"what", "waited_s"} and events[0][1]["what"] == "load"
    assert events[-1][1]["exceeded"] == ["load"]


def test_a_real_look(tmp_path):
    result = gate.wait({"wait_s": 0}, threads=1, root=write_tree(tmp_path, PHONE))
    json.dumps(result, allow_nan=False)
    assert result["temperatures_c"]["cpu_0_0_usr"] == 41.5
    assert result["frequency_mhz"] == {"policy0": 1800, "policy4": 2400}
    assert (result["governor"], result["battery_percent"]) == ("performance, schedutil", 77)
    assert (result["idle_w"], result["load_1min"]) == (2, 1.5)
    assert result["calibration"]["compute_ms"] > 0 and result["identity"]


def test_a_system_that_tells_nothing(tmp_path):
    result = gate.wait(LIMITS | {"wait_s": 0}, threads=1, root=str(tmp_path))
    assert result["exceeded"] == []
    for name in ("other_cpu_cores", "battery_percent", "governor", "load_1min", "idle_w"):
        assert result[name] is None, name
    assert result["temperatures_c"] == {} and result["frequency_mhz"] == {}
