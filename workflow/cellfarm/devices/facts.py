"""Device facts: what the hardware and the system are, and what state they are in now.

`fingerprint` is the part that a result depends on: a changed OS build is another device as far as
numbers go; a changed load or battery level is not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .control import parse_cores, read_siblings

FINGERPRINT = (
    "model",
    "soc",
    "cpu",
    "architecture",
    "cores",
    "clusters",
    "isa",
    "memory_gb",
    "os",
    "kernel",
)

#: ISA extensions that change which kernels a library picks.
_NOTED_ISA = frozenset(
    [
        "avx",
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx_vnni",
        "amx_int8",
        "amx_bf16",
        "f16c",
        "fma",
        "sse4_2",
        "asimd",
        "asimddp",
        "asimdhp",
        "fphp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    ]
)


@dataclass(frozen=True)
class Machine:
    """What no file of a machine tells: `uname -m` and `uname -r`."""

    architecture: str
    kernel: str | None


def read_local(root: Path = Path("/")) -> dict[str, Any]:
    """The facts of this machine; what it does not tell is None.

    Args:
        root: where /proc, /sys and /etc stand (tests give a tree of their own).
    """
    facts = read(root, Machine(platform.machine(), platform.release() or None))
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = len(allowed) if allowed else os.cpu_count()
    facts |= {"allowed_cores": allowed, "cores": cores, "free_mb": _free_mb()}
    facts["cpu"] = facts["cpu"] or platform.processor() or None
    facts["os"] = facts["os"] or platform.platform(terse=True) or None
    return facts


def read(root: Path, machine: Machine) -> dict[str, Any]:
    """The facts of the machine whose /proc, /sys and /etc stand below `root`."""
    cpuinfo = _text(root / "proc/cpuinfo") or ""
    allowed = _allowed_cores(root)
    return {
        "model": _machine_model(root),
        "soc": _text(root / "sys/devices/soc0/machine"),
        "cpu": _cpu_name(cpuinfo),
        "architecture": machine.architecture,
        "cores": len(allowed) if allowed else None,
        "allowed_cores": allowed,
        "clusters": _clusters(root),
        "siblings": read_siblings(root),
        "isa": _isa(cpuinfo),
        "memory_gb": _memory_gb(root),
        "os": _os_build(root),
        "kernel": machine.kernel,
        "governor": _first_text(root, "sys/devices/system/cpu/cpufreq/policy*/scaling_governor"),
        "frequency_control": bool(_glob(root, "sys/devices/system/cpu/cpufreq/policy*")),
        "thermal_zones": _thermal_zones(root),
        "battery_percent": _battery_percent(root),
        "load_1min": _load(root),
        "free_mb": None,
    }


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that a result depends on."""
    return {name: facts.get(name) for name in FINGERPRINT}


def _allowed_cores(root: Path) -> list[int] | None:
    """The processors that a process there may run on: fewer than there are in a container."""
    status = _text(root / "proc/self/status") or ""
    found = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    return parse_cores(found[1]) or None if found else None


def _cpu_name(cpuinfo: str) -> str | None:
    for field in ("model name", "Hardware", "Processor"):
        found = re.search(rf"^{field}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
        if found:
            return found[1].strip()
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)))
    return f"CPU parts {', '.join(parts)}" if parts else None


def _isa(cpuinfo: str) -> list[str]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return sorted(_NOTED_ISA.intersection(found[1].split())) if found else []


def _machine_model(root: Path) -> str | None:
    tree = _text(root / "proc/device-tree/model")
    return tree.rstrip("\0") if tree else _text(root / "sys/class/dmi/id/product_name")


def _clusters(root: Path) -> list[dict[str, Any]] | None:
    """Cores by frequency domain, fastest first; None where the system has no frequency control."""
    found = [
        {
            "cores": _text(policy / "related_cpus"),
            "max_khz": _number(_text(policy / "cpuinfo_max_freq")),
        }
        for policy in _glob(root, "sys/devices/system/cpu/cpufreq/policy*")
    ]
    return sorted(found, key=lambda cluster: -(cluster["max_khz"] or 0)) or None


def _memory_gb(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    # Whole GB: the kernel's own share changes a little with every build.
    return round(int(found[1]) / (1 << 20)) if found else None


def _os_build(root: Path) -> str | None:
    release = _text(root / "etc/os-release") or ""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, re.MULTILINE))
    return fields.get("PRETTY_NAME") or None


def _thermal_zones(root: Path) -> dict[str, float]:
    zones = {}
    for zone in _glob(root, "sys/class/thermal/thermal_zone*"):
        value = _number(_text(zone / "temp"))
        if value is not None:
            zones[f"{zone.name}:{_text(zone / 'type')}"] = value / 1000
    return zones


def _battery_percent(root: Path) -> float | None:
    for supply in _glob(root, "sys/class/power_supply/*"):
        # A mouse's battery has the scope Device; not every kernel tells a type.
        if _text(supply / "scope") != "Device" and _text(supply / "type") in ("Battery", None):
            percent = _number(_text(supply / "capacity"))
            if percent is not None:
                return percent
    return None


def _load(root: Path) -> float | None:
    text = _text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _free_mb() -> int | None:
    with contextlib.suppress(OSError):
        status = os.statvfs(".")
        return status.f_bavail * status.f_frsize >> 20
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _first_text(root: Path, pattern: str) -> str | None:
    return next((text for path in _glob(root, pattern) if (text := _text(path))), None)


def _glob(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern))


def _number(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return float(text)  # type: ignore[arg-type]
    return None
