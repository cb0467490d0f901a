"""The system's sensors: clocks, temperatures, battery, energy counters.

Every reader takes `root`, the folder that holds /sys. A missing or absurd value is left out or None.
"""

import re
from collections.abc import Callable
from typing import Any

from reading import listed, number, read  # type: ignore[import-not-found]

CPUFREQ = "sys/devices/system/cpu/cpufreq"
THERMAL = "sys/class/thermal"
POWER_SUPPLY = "sys/class/power_supply"
POWERCAP = "sys/class/powercap"

#: Phones report -274, -40, 0 and 125 for zones that are switched off or broken.
PLAUSIBLE_C = (0.5, 124.0)


def policies(root: str = "/") -> list[str]:
    """The names of the frequency domains, in the order of their first core."""
    return _numbered(root, CPUFREQ, "policy")


def frequencies_mhz(root: str = "/") -> dict[str, float]:
    """The present clock by frequency domain (`policy0`), in MHz; empty where unknown."""
    clocks = {name: frequency_mhz(read(root, frequency_file(name))) for name in policies(root)}
    return {name: value for name, value in clocks.items() if value is not None}


def frequency_file(policy: str) -> str:
    """The file with the present clock of a frequency domain, below root."""
    return f"{CPUFREQ}/{policy}/scaling_cur_freq"


def frequency_mhz(text: str | None) -> float | None:
    """A clock in MHz from the file's kHz."""
    khz = number(text)
    return khz / 1000 if khz is not None and 0 < khz < 1e8 else None


def governors(root: str = "/") -> dict[str, str]:
    """The governor by frequency domain; empty where there are none."""
    texts = {name: read(root, f"{CPUFREQ}/{name}/scaling_governor") for name in policies(root)}
    return {name: text for name, text in texts.items() if text}


def governor(root: str = "/") -> str | None:
    """The governor, or all of them where domains differ; None where there is none."""
    return ", ".join(sorted(set(governors(root).values()))) or None


def zones(root: str = "/") -> dict[str, str]:
    """Thermal zones: name -> file with the temperature, below root.

    The name is the zone's type in lower case with underscores; further zones of the same type get
    their number.
    """
    files: dict[str, str] = {}
    for zone in _numbered(root, THERMAL, "thermal_zone"):
        kind = read(root, f"{THERMAL}/{zone}/type")
        name = re.sub(r"[^a-z0-9]+", "_", (kind or zone).lower()).strip("_") or zone
        if name in files:
            name += "_" + zone.removeprefix("thermal_zone")
        files[name] = f"{THERMAL}/{zone}/temp"
    return files


def temperature_c(text: str | None) -> float | None:
    """A temperature in °C from the file's 1/1000 °C; None if the sensor does not work."""
    value = number(text)
    if value is None:
        return None
    value /= 1000
    return value if PLAUSIBLE_C[0] < value < PLAUSIBLE_C[1] else None


def temperatures(root: str = "/") -> dict[str, float]:
    """Temperatures in °C by zone (see `zones`); broken sensors are left out."""
    values = {name: temperature_c(read(root, file)) for name, file in zones(root).items()}
    return {name: value for name, value in values.items() if value is not None}


def battery_folder(root: str = "/") -> str | None:
    """The first supply that is the device's battery, below root."""
    for name in listed(root, POWER_SUPPLY):
        folder = f"{POWER_SUPPLY}/{name}"
        # A mouse's battery has the scope Device; not every kernel gives a type.
        if read(root, f"{folder}/scope") == "Device":
            continue
        kind = read(root, f"{folder}/type")
        if kind == "Battery" or (kind is None and read(root, f"{folder}/capacity")):
            return folder
    return None


def battery(root: str = "/") -> dict[str, Any] | None:
    """The battery, or None where there is none.

    Returns:
        percent, status (as the system words it), current_a, voltage_v, and power_w. Current and
        power are None unless it discharges, as they are the charger's otherwise. The sign of the
        current differs by vendor and is dropped.
    """
    folder = battery_folder(root)
    return None if folder is None else battery_at(lambda name: read(root, f"{folder}/{name}"))


def battery_at(field: Callable[[str], str | None]) -> dict[str, Any]:
    """As `battery`; `field(name)` returns the text of a file in its folder, or None."""
    percent = number(field("capacity"))
    status = field("status")
    voltage_v = _in_units(number(field("voltage_now")), 1.0, 100.0)
    current = number(field("current_now")) if status == "Discharging" else None
    current_a = _in_units(abs(current), 0.02, 100.0) if current is not None else None
    return {
        "percent": percent if percent is not None and 0 <= percent <= 100 else None,
        "status": status,
        "current_a": current_a,
        "voltage_v": voltage_v,
        "power_w": current_a * voltage_v if current_a and voltage_v else None,
    }


def _in_units(micro: float | None, low: float, high: float) -> float | None:
    """From millionths. Some kernels give thousandths: a value that is too small is unknown."""
    return micro / 1e6 if micro is not None and low <= micro / 1e6 <= high else None


class Rapl:
    """The sum of the energy counters of all processor packages (powercap; mostly root only)."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._packages: list[tuple[str, float]] = []
        self._last: list[float] = []
        self._total_uj = 0.0
        for zone in listed(root, POWERCAP):
            # intel-rapl:0 is a package, intel-rapl:0:1 a part of it that would count twice.
            folder = f"{POWERCAP}/{zone}"
            if (read(root, f"{folder}/name") or "").startswith("package-"):
                value = number(read(root, f"{folder}/energy_uj"))
                limit = number(read(root, f"{folder}/max_energy_range_uj"))
                if value is not None:
                    self._packages.append((f"{folder}/energy_uj", limit or 0.0))
                    self._last.append(value)

    @property
    def exists(self) -> bool:
        """Whether any counter can be read."""
        return bool(self._packages)

    def energy_j(self) -> float | None:
        """Energy since this object was made, in J, across wraps of the counters.

        They wrap after minutes at the soonest; call it more often than that.
        """
        if not self._packages:
            return None
        for index, (file, limit) in enumerate(self._packages):
            value = number(read(self._root, file))
            if value is None:
                return None
            step = value - self._last[index]
            if step < 0:
                if limit <= 0:
                    return None
                step += limit
            self._total_uj += step
            self._last[index] = value
        return self._total_uj / 1e6


def _numbered(root: str, folder: str, prefix: str) -> list[str]:
    pattern = re.compile(re.escape(prefix) + r"\d+")
    names = [name for name in listed(root, folder) if pattern.fullmatch(name)]
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))
