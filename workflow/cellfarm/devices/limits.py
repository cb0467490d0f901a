"""The limits of a device. Standard library only, as it is shipped to the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..base.errors import PermanentDeviceError

if TYPE_CHECKING:
    from ..wanted.devices import Device

T = TypeVar("T", int, float)
#: How much a remote device's work folder may hold, unless its file says otherwise.
WORK_FOLDER_MB = 8_192
#: Nothing is measured with a battery below this.
BATTERY_PERCENT = 15.0
#: How long a lost device is called again. A phone restarts sooner.
PATIENCE_S = 300.0


def work_folder_mb(device: Device) -> int:
    return _limit(device.limits.work_folder_mb, WORK_FOLDER_MB)


def patience_s(device: Device) -> float:
    return _limit(device.limits.patience_s, PATIENCE_S)


def refuse_low_battery(device: Device, facts: Mapping[str, Any]) -> None:
    """
    Raises:
        PermanentDeviceError: the battery is known to be below the device's limit.
    """
    percent = facts.get("battery_percent")
    min_percent = _limit(device.limits.battery_percent, BATTERY_PERCENT)
    if percent is not None and percent < min_percent:
        raise PermanentDeviceError(
            f"its battery is at {percent:.0f} %, below its limit of {min_percent:.0f} %: charge it"
        )


def _limit(value: T | None, default: T) -> T:
    return default if value is None else value


def refuse_full(needed_bytes: int, free_bytes: int) -> None:
    """
    Raises:
        PermanentDeviceError: there is not enough free storage.
    """
    if free_bytes < needed_bytes:
        raise PermanentDeviceError(
            f"the device's storage is full: {needed_bytes / 1e6:.0f} MB are needed, "
            f"{free_bytes / 1e6:.0f} MB are free"
        )
