"""Device facts: the hardware, the system, and their present state.

`fingerprint` is the part that a result depends on. Another OS build makes another device; another load or
battery level does not.
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

from .control import parse_cores, read_siblings, read_text

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

#: ISA extensions that decide which kernels a library chooses.
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
    """What no file of a machine contains: `uname -m` and `uname -r`."""

    architecture: str
    kernel: str | None


def read_local(root: Path = Path("/")) -> dict[str, Any]:
    """The facts of this machine; unknown ones are None.

    Args:
        root: the folder that holds /proc, /sys and /etc.
    """
    facts = read(root, Machine(platform.machine(), platform.release() or None))
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = len(allowed) if allowed else os.cpu_count()
    facts |= {"allowed_cores": allowed, "cores": cores, "free_mb": _free_mb()}
    facts["cpu"] = facts["cpu"] or platform.processor() or None
    facts["os"] = facts["os"] or platform.platform(terse=True) or None
    return facts


def read(root: Path, machine: Machine) -> dict[str, Any]:
    """The facts of the machine whose /proc, /sys and /etc are below `root`."""
    cpuinfo = read_text(root / "proc/cpuinfo") or ""
    allowed = _allowed_cores(root)
    return {
        "model": _machine_model(root),
        "soc": read_text(root / "sys/devices/soc0/machine"),
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
        "frequency_control": any(root.glob("sys/devices/system/cpu/cpufreq/policy*")),
        "thermal_zones": _thermal_zones(root),
        "battery_percent": _battery_percent(root),
        "load_1min": _load(root),
        "free_mb": None,
    }


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that a result depends on."""
    return {name: facts.get(name) for name in FINGERPRINT}


def _allowed_cores(root: Path) -> list[int] | None:
    """The processors that a process may run on; in a container, not all."""
    status = read_text(root / "proc/self/status") or ""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    return parse_cores(match[1]) or None if match else None


def _cpu_name(cpuinfo: str) -> str | None:
    for field in ("model name", "Hardware", "Processor"):
        match = re.search(rf"^{field}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
        if match:
            return match[1].strip()
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)))
    return f"CPU parts {', '.join(parts)}" if parts else None


def _isa(cpuinfo: str) -> list[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return sorted(_NOTED_ISA.intersection(match[1].split())) if match else []


def _machine_model(root: Path) -> str | None:
    tree = read_text(root / "proc/device-tree/model")
    return tree.rstrip("\0") if tree else read_text(root / "sys/class/dmi/id/product_name")


def _clusters(root: Path) -> list[dict[str, Any]] | None:
    """Cores by frequency domain, fastest first; None where the system has no frequency control."""
    clusters = [
        {
            "cores": read_text(policy / "related_cpus"),
            "max_khz": _number(read_text(policy / "cpuinfo_max_freq")),
        }
        for policy in sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*"))
    ]
    return sorted(clusters, key=lambda cluster: -(cluster["max_khz"] or 0)) or None


def _memory_gb(root: Path) -> int | None:
    text = read_text(root / "proc/meminfo") or ""
    match = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    # Whole GB: the kernel's share changes a little with every build.
    return round(int(match[1]) / (1 << 20)) if match else None


def _os_build(root: Path) -> str | None:
    release = read_text(root / "etc/os-release") or ""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, re.MULTILINE))
    return fields.get("PRETTY_NAME") or None


def _thermal_zones(root: Path) -> dict[str, float]:
    zones = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _number(read_text(zone / "temp"))
        if value is not None:
            zones[f"{zone.name}:{read_text(zone / 'type')}"] = value / 1000
    return zones


def _battery_percent(root: Path) -> float | None:
    for supply in sorted(root.glob("sys/class/power_supply/*")):
        # A mouse's battery has the scope Device; not every kernel gives a type.
        scope, kind = read_text(supply / "scope"), read_text(supply / "type")
        if scope != "Device" and kind in ("Battery", None):
            percent = _number(read_text(supply / "capacity"))
            if percent is not None:
                return percent
    return None


def _load(root: Path) -> float | None:
    text = read_text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _free_mb() -> int | None:
    with contextlib.suppress(OSError):
        status = os.statvfs(".")
        return status.f_bavail * status.f_frsize >> 20
    return None


def _first_text(root: Path, pattern: str) -> str | None:
    return next((text for path in sorted(root.glob(pattern)) if (text := read_text(path))), None)


def _number(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return float(text)  # type: ignore[arg-type]
    return None
