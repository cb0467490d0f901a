"""A device that fails for now is called again, for as long as its file allows."""

from __future__ import annotations

import time

import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.experiments import patience
from cellfarm.experiments.patience import Patience


class Device:
    """Raises one of its errors at each call, and answers when none is left."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def act(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.0)


def test_a_device_that_comes_back_has_done_it():
    messages: list[str] = []
    device = Device(TransientDeviceError("gone"), TransientDeviceError("still gone"))
    patient = Patience(60, messages.append)
    assert patient(device.act) == "done" and device.calls == 3
    assert patient.lost == 2
    assert [message.partition(";")[0] for message in messages] == ["gone", "still gone"]
    assert patient(device.act) == "done" and patient.lost == 0


def test_what_no_attempt_changes_is_not_tried_again():
    device = Device(PermanentDeviceError("another key"))
    with pytest.raises(PermanentDeviceError):
        Patience(60, lambda _: None)(device.act)
    assert device.calls == 1


def test_a_device_that_stays_away_is_given_up():
    device = Device(*[TransientDeviceError("gone")] * 1000)
    with pytest.raises(TransientDeviceError, match="gone"):
        Patience(0.0, lambda _: None)(device.act)
    assert device.calls == 1


def test_how_long_it_had_worked_before_does_not_count():
    """A launch is repeated even if it took longer than a device is waited for."""
    calls: list[int] = []

    def launch() -> str:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.3)
            raise TransientDeviceError("gone")
        return "done"

    assert Patience(0.2, lambda _: None)(launch) == "done" and len(calls) == 2
