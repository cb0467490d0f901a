"""The gate: which limits hold back a launch, and that waiting is bounded and told."""

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
    """A device whose looks are given; time passes only while it is looked at."""

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


def wait(limits=LIMITS, **more):
    return gate.wait(
        limits, threads=2, baseline_c={"soc": 38.0, "gone": 1.0}, calibration_ms=9.0, **more
    )


def test_a_good_device_passes_at_the_first_look(monkeypatch):
    device = Device(monkeypatch, [{}])
    found = wait()
    assert (found["exceeded"], found["waited_s"], found["looks"]) == ([], 0.0, 1)
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
    found = wait()
    assert found["exceeded"] == exceeded
    assert 59.0 - gate._LONGEST_LOOK_S <= found["waited_s"] <= 60.0 if exceeded else True


def test_it_passes_as_soon_as_the_limits_hold(monkeypatch):
    device = Device(monkeypatch, [{"other_cpu_cores": 0.3}] * 3 + [{}])
    found = wait()
    assert found["exceeded"] == [] and found["looks"] == 4
    assert device.seconds == [0.05, 0.1, 0.2, 0.4], "each look is longer, and so more exact"
    assert found["waited_s"] == pytest.approx(sum(device.seconds) + 4 * 0.02)


def test_a_device_that_cools_is_waited_for_until_it_is_stable(monkeypatch):
    cooling = [{"temperatures_c": {"soc": 60.0 - 2 * step}} for step in range(12)]
    Device(monkeypatch, [*cooling, {"temperatures_c": {"soc": 38.0}}])
    found = wait()
    assert found["exceeded"] == []
    assert found["temperatures_c"] == {"soc": 38.0}
    assert found["looks"] > len(cooling), "within its rise, it was still falling"


def test_limits_that_are_not_given_hold_nobody_back(monkeypatch):
    bad = {"other_cpu_cores": 9.0, "temperatures_c": {"soc": 99.0}, "battery_percent": 1.0}
    Device(monkeypatch, [bad])
    for limits in ({}, {"wait_s": 60.0}, dict.fromkeys(LIMITS)):
        assert wait(limits)["exceeded"] == []


def test_without_time_to_wait_there_is_one_look(monkeypatch):
    device = Device(monkeypatch, [{"other_cpu_cores": 9.0}])
    found = wait(LIMITS | {"wait_s": 0.0})
    assert (found["exceeded"], found["looks"], found["waited_s"]) == (["load"], 1, 0.0)
    assert len(device.seconds) == 1


def test_waiting_is_told_about_once_a_second(monkeypatch):
    Device(monkeypatch, [{"other_cpu_cores": 0.5, "battery_percent": 1.0}])
    told = []
    found = wait(
        LIMITS | {"wait_s": 10.0}, report=lambda what, waited_s: told.append((what, waited_s))
    )
    assert 5 <= len(told) <= 10
    assert all(what == ["load", "battery"] for what, _ in told)
    assert [waited_s for _, waited_s in told] == sorted(waited_s for _, waited_s in told)
    assert told[-1][1] <= found["waited_s"]


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
    found = gate.wait({"wait_s": 0}, threads=1, root=write_tree(tmp_path, PHONE))
    json.dumps(found, allow_nan=False)
    assert found["temperatures_c"]["cpu_0_0_usr"] == 41.5
    assert found["frequency_mhz"] == {"policy0": 1800, "policy4": 2400}
    assert (found["governor"], found["battery_percent"]) == ("performance, schedutil", 77)
    assert (found["idle_w"], found["load_1min"]) == (2, 1.5)
    assert found["calibration"]["compute_ms"] > 0 and found["identity"]


def test_a_system_that_tells_nothing(tmp_path):
    found = gate.wait(LIMITS | {"wait_s": 0}, threads=1, root=str(tmp_path))
    assert found["exceeded"] == []
    for name in ("other_cpu_cores", "battery_percent", "governor", "load_1min", "idle_w"):
        assert found[name] is None, name
    assert found["temperatures_c"] == {} and found["frequency_mhz"] == {}
