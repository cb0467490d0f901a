"""The facts of a remote device: a shell script fetches its files, which are read as those of this machine.

The script is the same for every device, and uses only what the shells of Android and boards have.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from ..base.errors import PermanentDeviceError, TransientDeviceError
from . import facts as device_facts
from .link import Link, ask

TIMEOUT_S = 30.0
_MARK = "@@cellfarm@@"
_MAX_FILES = 2000

# `cat` fails on some listed files of /sys, which then count as absent.
_SCRIPT = r"""
say() { echo; echo "@@cellfarm@@ $1"; }
for file in /proc/cpuinfo /proc/meminfo /proc/loadavg /proc/self/status /proc/device-tree/model \
    /sys/devices/soc0/machine /sys/class/dmi/id/product_name /etc/os-release \
    /sys/devices/system/cpu/cpufreq/policy*/related_cpus \
    /sys/devices/system/cpu/cpufreq/policy*/cpuinfo_max_freq \
    /sys/devices/system/cpu/cpufreq/policy*/scaling_governor \
    /sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list \
    /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp \
    /sys/class/power_supply/*/capacity /sys/class/power_supply/*/type /sys/class/power_supply/*/scope; do
    [ -r "$file" ] && { say "$file"; cat "$file" 2>/dev/null; }
done
say uname; uname -m; uname -r
say properties; getprop 2>/dev/null
say battery; dumpsys battery 2>/dev/null
say thermal; dumpsys thermalservice 2>/dev/null
say free; df -k "$1" 2>/dev/null || df -k "${1%/*}" 2>/dev/null
say emulated; echo "$CELLFARM_VIRTUAL"
say glibc; getconf GNU_LIBC_VERSION 2>/dev/null
PATH=$2
say python; command -v python3 && python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'
say end
"""


def read(link: Link, work_folder: str, search_path: str) -> dict[str, Any]:
    """A device's facts, unknown ones None. See cellfarm.devices.facts.

    Args:
        search_path: the agent's PATH for Python; that of a login shell may differ.

    Raises:
        TransientDeviceError: it does not answer, or not to the end.
        PermanentDeviceError: this kind of device cannot be measured.
    """
    argv = ["sh", "-c", _SCRIPT, "sh", work_folder, search_path]
    answer = ask(link, argv, timeout_s=TIMEOUT_S)
    parts = _split(answer.output.decode(errors="replace"))
    if "end" not in parts:
        raise TransientDeviceError("the device's facts broke off", ("sh",), answer.code, answer.log)
    machine, kernel = [*parts.get("uname", "").split(), "", ""][:2]
    properties = _properties(parts.get("properties", ""))
    if properties.get("ro.build.version.sdk") and not properties.get("ro.product.cpu.abilist64"):
        raise PermanentDeviceError("a 32-bit phone: no library here has builds for it")
    with tempfile.TemporaryDirectory(prefix="cellfarm-facts-") as folder:
        root = Path(folder)
        for name, text in parts.items():
            if name.startswith("/"):
                _write(root, name, text)
        facts = device_facts.read(root, device_facts.Machine(machine, kernel or None))
    facts |= _android_facts(properties)
    # Some phones do not let their shell read these in /sys.
    if facts["battery_percent"] is None:
        facts["battery_percent"] = _battery_percent(parts.get("battery", ""))
    facts["thermal_zones"] = facts["thermal_zones"] or _temperatures_c(parts.get("thermal", ""))
    facts["free_mb"] = _free_mb(parts.get("free", ""))
    facts["python"] = _version(r"^(\d+\.\d+)$", parts.get("python", ""))
    facts["emulated"] = parts.get("emulated", "").strip() == "1"
    facts["glibc"] = _version(r"\A\s*glibc (\d+\.\d+)\s*\Z", parts.get("glibc", ""))
    facts["android"] = bool(properties.get("ro.build.version.sdk"))
    return facts


def _split(text: str) -> dict[str, str]:
    """The parts of the script's output by name."""
    parts = {}
    for part in text.split(f"\n{_MARK} ")[1 : _MAX_FILES + 1]:
        name, _, content = part.partition("\n")
        parts[name.strip()] = content.rstrip("\n")
    return parts


def _write(root: Path, name: str, text: str) -> None:
    """Write a file of the device below a folder; ignore a name that leads out of it."""
    relative = PurePosixPath(name.lstrip("/"))
    if ".." in relative.parts:
        return
    path = root / relative
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _properties(text: str) -> dict[str, str]:
    """`[name]: [value]`, as Android's getprop prints them."""
    return dict(re.findall(r"^\[([\w.]+)\]: \[([^\]\n]*)\]", text, re.MULTILINE))


def _android_facts(properties: dict[str, str]) -> dict[str, Any]:
    named = {
        "model": [properties.get(f"ro.product.{name}") for name in ("manufacturer", "model")],
        "soc": [properties.get(f"ro.soc.{name}") for name in ("manufacturer", "model")],
        "os": [properties.get("ro.build.fingerprint")],
    }
    if not named["soc"][-1]:
        named["soc"] = [properties.get("ro.board.platform")]
    joined = {name: " ".join(part for part in parts if part) for name, parts in named.items()}
    return {name: text for name, text in joined.items() if text}


def _battery_percent(text: str) -> float | None:
    """From `dumpsys battery`: level as a share of scale."""
    values = dict(re.findall(r"^ *(level|scale): (\d+)$", text, re.MULTILINE))
    scale = int(values.get("scale", "100"))
    return 100 * int(values["level"]) / scale if "level" in values and scale else None


def _temperatures_c(text: str) -> dict[str, float]:
    """From `dumpsys thermalservice`: the present ones, which follow the cached ones."""
    _, _, present = text.partition("Current temperatures from HAL:")
    present, _, _ = present.partition("Current cooling devices")
    readings = re.findall(r"\{mValue=(-?\d+(?:\.\d+)?), [^}\n]*mName=([^,}\n]+)", present)
    return {name: float(value) for value, name in readings if 0.5 < float(value) < 124}


def _free_mb(text: str) -> int | None:
    """From df -k: the fourth column of the last line, which may be broken after a long name."""
    match = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%\s+\S+\s*$", text)
    return int(match[3]) >> 10 if match else None


def _version(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None
