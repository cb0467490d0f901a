"""`cellfarm farm`: what every device does now, as the experiments record it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ..base.project import Project
from ..devices.activity import ATTENTION, IDLE, read_state
from ..wanted.configuration import read_device
from ..wanted.devices import AnyDevice
from .tables import terminal_console

EVERY_S = 1.0
_COLUMNS = ("device", "state", "model", "what", "cells", "temperature", "for")
_STYLES = {"measuring": "green", ATTENTION: "red", "lost": "red", "interrupted": "red"}


def watch(project: Project, once: bool) -> None:
    """Print the table; on a terminal again each second, until Ctrl-C.

    Raises:
        UserError: a device's file is wrong.
    """
    console = terminal_console()
    if once or not console.is_terminal:
        console.print(farm_table(project))
        return
    with Live(farm_table(project), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            live.update(farm_table(project), refresh=True)


def farm_table(project: Project) -> Table:
    """One row for every file in devices/."""
    table = Table(*_COLUMNS)
    for path in sorted(project.devices.glob("*.yaml")):
        device = read_device(project, path.stem, "cellfarm farm")
        table.add_row(path.stem, *_row(device, read_state(project, path.stem)))
    return table


def _row(device: AnyDevice, state: Mapping[str, Any]) -> list[str]:
    if device.out_of_service:
        return ["out of service", "", escape(device.out_of_service)]
    if not state or state["state"] == IDLE:
        return [IDLE]
    style = _STYLES.get(state["state"], "")
    celsius = state.get("temperature_c")
    return [
        f"[{style}]{state['state']}[/]" if style else state["state"],
        escape(str(state.get("model", ""))),
        escape(str(state.get("doing", ""))),
        f"{state.get('done', 0)} of {state.get('total', 0)}",
        "n/a" if celsius is None else f"{celsius:.0f} °C",
        _duration(time.time() - state["since"]),
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
