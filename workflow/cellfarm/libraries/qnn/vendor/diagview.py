"""What snpe-diagview prints of a SNPEDiag log, in the forms of SNPE 2.9 and 2.37."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..qnn_profile import describe

_EXECUTED = re.compile(
    r"^(?:Average SNPE Statistics:|SNPE Execute Statistics \(Averaged\):)\s*$", re.MULTILINE
)
_LAYERS = re.compile(r"^\s*(?:Layer Times:|Per-Layer Execution Times:)\s*$", re.MULTILINE)
_SUBNET = re.compile(r"^\s*Subnet \d+ \(DSP\) : (\d+) cycles$", re.MULTILINE)
_LAYER = re.compile(r"^\s*(\d+): (?:(.+) : )?(\d+) (us|cycles) : (\w+)$")
_VERSION = re.compile(r"^Software library version: (\S+)$", re.MULTILINE)
_RULE = re.compile(r"^\s*-+$")


@dataclass(frozen=True)
class Diagnosis:
    """Means over the inferences of a log, in microseconds.

    Args:
        layers: (name or None, value, unit, runtime) in order; empty if the log has none.
        subnet_cycles: of all DSP subnets together; None in the older form.
    """

    version: str | None
    init_us: int
    total_us: int
    accelerator_us: int
    layers: tuple[tuple[str | None, int, str, str], ...]
    subnet_cycles: int | None = None


def read(text: str) -> Diagnosis:
    """Read the text that snpe-diagview printed.

    Raises:
        ValueError: the text is cut off, or of another form.
    """
    parts = _EXECUTED.split(text)
    if len(parts) != 2:
        raise ValueError(f"snpe-diagview printed {len(parts) - 1} statistics of execution; not 1")
    before, executed = parts
    if not text.endswith("\n"):
        raise ValueError("the output of snpe-diagview is cut off in its last line")
    total_us = _value(executed, "Total Inference Time")
    if total_us == 0:
        raise ValueError("snpe-diagview says that an inference took no time")
    version = _VERSION.search(before)
    subnets = [int(cycles) for cycles in _SUBNET.findall(executed)]
    return Diagnosis(
        version=version[1] if version else None,
        init_us=_value(before, "Init"),
        total_us=total_us,
        accelerator_us=_value(executed, "Accelerator Time"),
        layers=_layers(executed),
        subnet_cycles=sum(subnets) if subnets else None,
    )


def operators(diagnosis: Diagnosis, nodes: dict[str, str]) -> list[dict[str, Any]]:
    """{"name", "type", "node", "ms": [the mean]}: the accelerator's time, shared by cycles.

    Raises:
        ValueError: no layers, or layers that ran elsewhere.
    """
    if not diagnosis.layers:
        raise ValueError("snpe-diagview printed no layers")
    elsewhere = sorted({runtime for *_, runtime in diagnosis.layers if runtime != "DSP"})
    units = {unit for _, _, unit, _ in diagnosis.layers}
    if elsewhere or units != {"cycles"}:
        raise ValueError(f"layers ran on {', '.join(elsewhere) or 'the DSP'}, in {units}")
    total = sum(value for _, value, _, _ in diagnosis.layers)
    if not total:
        raise ValueError("snpe-diagview says that all layers took no cycle")
    # Only this shows that the list is cut off. The means of layers are rounded.
    if diagnosis.subnet_cycles is None or abs(diagnosis.subnet_cycles - total) > len(
        diagnosis.layers
    ):
        raise ValueError(
            f"the layers add up to {total} cycles; snpe-diagview says {diagnosis.subnet_cycles}"
        )
    scale_ms = diagnosis.accelerator_us / total / 1e3
    operators = []
    for number, (identifier, value, _, _) in enumerate(diagnosis.layers):
        name, node, kind = describe(identifier or str(number), nodes)
        operators.append({"name": name, "type": kind, "node": node, "ms": [value * scale_ms]})
    return operators


def _value(text: str, name: str) -> int:
    """A time in microseconds that is printed once; 0 has no unit, or the unit NONE."""
    values = re.findall(rf"^\s*{re.escape(name)}: (\d+)(?: (us|NONE))?\s*$", text, re.MULTILINE)
    if len(values) != 1 or (values[0][1] != "us" and values[0][0] != "0"):
        raise ValueError(f"snpe-diagview printed no '{name}' in microseconds")
    return int(values[0][0])


def _layers(text: str) -> tuple[tuple[str | None, int, str, str], ...]:
    parts = _LAYERS.split(text)
    if len(parts) == 1:
        return ()
    layers: list[tuple[str | None, int, str, str]] = []
    for line in parts[-1].splitlines():
        if not line.strip() or _RULE.match(line):
            continue
        match = _LAYER.match(line.rstrip())
        if not match or int(match[1]) != len(layers):
            raise ValueError(f"snpe-diagview: layer {len(layers)} was expected: {line.strip():.80}")
        layers.append((match[2], int(match[3]), match[4], match[5]))
    return tuple(layers)
