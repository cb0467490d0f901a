"""The runner's modules and the device halves of measures, importable as on a device: flat, by
bare name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellfarm.base.code import PlannedCode, place_of
from cellfarm.base.project import PACKAGE
from cellfarm.experiments.payload import pack
from cellfarm.measures import all_measures

RUNNER = PACKAGE / "runner"


def runner_module(name: str) -> Any:
    """A module of the runner."""
    if str(RUNNER) not in sys.path:
        sys.path.append(str(RUNNER))
    return importlib.import_module(name)


def device_half(measure: str) -> Any:
    """The device half of a measure."""
    if str(RUNNER) not in sys.path:
        sys.path.append(str(RUNNER))
    path = all_measures()[measure].folder / "device.py"
    spec = importlib.util.spec_from_file_location(f"measure_{measure}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packed(folder: Path, *modules: Path, measures: Iterable[str] | None = None) -> Path:
    """The payload of a made-up library, with the device halves of measures, or of all.

    Args:
        modules: backend.py and, if it exists, profiler.py of one folder.
    """
    names = all_measures() if measures is None else measures
    entries = [f"runner/{name}.py" for name in ("__main__", "gate")]
    entries += [f"measures/{measure}/device.py" for measure in names]
    entries += [place_of(module) for module in modules]
    roots = ["runner", *sorted({place_of(module.parent) for module in modules}), "measures"]
    return pack(PlannedCode.of(entries, roots), folder)


def write_tree(root: Path, files: Mapping[str, str | bytes]) -> str:
    """Write files below `root`; returns it as the runner takes it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(root)


#: Some of the files of a phone that runs on its battery.
PHONE: dict[str, str] = {
    "proc/stat": "cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 1\n",
    "proc/loadavg": "1.50 1.00 0.50 2/900 1234\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=123456\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/self/status": "Name:\trunner\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n",
    "proc/self/task/10/sched": "runner (10, #threads: 2)\nse.nr_migrations      :      3\n",
    "proc/self/task/11/sched": "worker (11, #threads: 2)\nse.nr_migrations      :      4\n",
    "proc/77/stat": "77 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 9 9 9\n",
    "proc/77/status": "VmRSS:\t  2048 kB\n",
    "proc/77/statm": "5000 2560 100 1 0 1 0\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1800000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpufreq/policy10/scaling_cur_freq": "<unknown>\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-0-0-usr\n",
    "sys/class/thermal/thermal_zone0/temp": "41500\n",
    "sys/class/thermal/thermal_zone1/type": "SoC Max\n",
    "sys/class/thermal/thermal_zone1/temp": "43000\n",
    "sys/class/thermal/thermal_zone2/type": "SoC Max\n",
    "sys/class/thermal/thermal_zone2/temp": "44000\n",
    "sys/class/thermal/thermal_zone3/type": "modem\n",
    "sys/class/thermal/thermal_zone3/temp": "-274000\n",
    "sys/class/thermal/thermal_zone4/type": "asleep\n",
    "sys/class/thermal/thermal_zone4/temp": "0\n",
    "sys/class/thermal/thermal_zone5/type": "broken\n",
    "sys/class/thermal/thermal_zone5/temp": "n/a\n",
    "sys/class/thermal/cooling_device0/type": "fan\n",
    "sys/class/power_supply/usb/type": "USB\n",
    "sys/class/power_supply/battery/type": "Battery\n",
    "sys/class/power_supply/battery/capacity": "77\n",
    "sys/class/power_supply/battery/status": "Discharging\n",
    "sys/class/power_supply/battery/current_now": "-500000\n",
    "sys/class/power_supply/battery/voltage_now": "4000000\n",
}

#: A workstation whose energy counters can be read.
WORKSTATION: dict[str, str] = {
    "proc/stat": "cpu  100 20 30 4000 50 6 7 0 0 0\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "5000000\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "999\n",
    "sys/class/powercap/intel-rapl:1/name": "package-1\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "2000000\n",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "5000000\n",
}

_WORDS = ("", "\n", "nonsense\n", b"\xff\xfe\x00", "1e400", "nan", "-", "some total=x", "cpu 1 2")
#: The files of PHONE and WORKSTATION, with nonsense in them.
NONSENSE: dict[str, str | bytes] = {
    name: _WORDS[number % len(_WORDS)] for number, name in enumerate({**PHONE, **WORKSTATION})
}
