"""`cellfarm devices`: the facts of every device, and files for new devices."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.markup import escape
from rich.table import Table

from ..base.errors import CellfarmError, UserError
from ..base.files import write_atomically
from ..base.project import Project
from ..devices import open_device, refuse_low_battery
from ..devices.activity import ATTENTION, read_state
from ..wanted.configuration import read_device
from ..wanted.devices import AnyDevice, LocalDevice, parse_device
from .names import check_name
from .tables import terminal_console

app = typer.Typer(help="The devices in devices/.", invoke_without_command=True)

_COLUMNS = ("device", "state", "model", "SoC", "cores", "system", "free", "temperature", "battery")
_PHONE_FOLDER = "/data/local/tmp/cellfarm"
#: Devices that are asked at the same time.
_PARALLEL = 16


@app.callback()
def show(context: typer.Context) -> None:
    """What every device says of itself, asked now."""
    if context.invoked_subcommand is None:
        print_devices(Project.here())


@app.command()
def add(
    address: Annotated[
        str | None,
        typer.Argument(help="user@host[:port] of a board; without it, what `adb devices` lists."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="By default the device's model.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The private key for a board.")] = None,
) -> None:
    """Write devices/<name>.yaml for a board, or for every phone that adb sees and no file names."""
    project = Project.here()
    if name is not None:
        check_name(name)
    documents = [_board(project, address, key_file)] if address else _phones(project)
    for document in documents:
        path = add_device(project, document, name)
        print(f"{project.relative(path)} written: snakemake --config devices={path.stem}")


def add_device(project: Project, document: Mapping[str, Any], name: str | None) -> Path:
    """Ask a device for its facts, and write its file; returns the file's path.

    Raises:
        UserError: the name is taken.
        CellfarmError: the device cannot be used.
    """
    device = parse_device({"name": name or "device", **document}, "cellfarm devices add")
    transport = open_device(device, project)
    try:
        facts = transport.facts()
    finally:
        transport.close()
    model = re.sub(r"[^a-z0-9]+", "_", str(facts["model"] or "device").lower()).strip("_")
    name = name or model or "device"
    target = project.devices / f"{name}.yaml"
    if target.exists():
        raise UserError(f"{project.relative(target)} is there already: give another --name")
    text = yaml.safe_dump({"name": name, **document}, sort_keys=False)
    write_atomically(
        target, f"# {facts['model'] or 'not told'}, {facts['os'] or 'not told'}\n{text}"
    )
    try:
        read_device(project, name, "cellfarm devices add")
    except UserError:
        target.unlink()
        raise
    return target


def _board(project: Project, address: str, key_file: Path | None) -> dict[str, Any]:
    parts = re.fullmatch(r"(?P<user>[^@\s]+)@(?P<host>[^@\s]+?)(?::(?P<port>\d+))?", address)
    if parts is None:
        raise UserError(f"{address}: expected user@host or user@host:port")
    fields: dict[str, Any] = {"host": parts["host"], "user": parts["user"]}
    if parts["port"]:
        fields["port"] = int(parts["port"])
        if not 1 <= fields["port"] <= 65535:
            raise UserError(f"{address}: expected a port from 1 to 65535")
    for name, existing in _addresses(project).items():
        if _endpoint(existing) == _endpoint(fields):
            raise UserError(f"devices/{name}.yaml has that address: a device needs one file")
    if key_file:
        if not key_file.is_file():
            raise UserError(f"--key-file {key_file}: there is no such file")
        fields["key_file"] = str(key_file)
    folder = f"/home/{parts['user']}/cellfarm" if parts["user"] != "root" else "/root/cellfarm"
    return {"transport": "ssh", "address": fields, "work_folder": folder, "processors": ["cpu"]}


def _addresses(project: Project) -> dict[str, dict[str, Any]]:
    """The addresses in the files of all devices."""
    names = sorted(path.stem for path in project.devices.glob("*.yaml"))
    devices = (read_device(project, name, "cellfarm devices add") for name in names)
    return {
        device.name: {} if isinstance(device, LocalDevice) else msgspec.to_builtins(device.address)
        for device in devices
    }


def _endpoint(address: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identifies a board; behind different jump hosts different boards may have the same address."""
    jump = address.get("jump") or {}
    return address.get("host"), address.get("port", 22), jump.get("host")


def _phones(project: Project) -> list[dict[str, Any]]:
    import adbutils

    from ..devices.adb import address_of

    known = {address.get("serial") for address in _addresses(project).values()}
    client = adbutils.AdbClient(socket_timeout=15)
    try:
        phones = client.list()
    except (adbutils.AdbError, OSError) as error:
        raise CellfarmError(f"no adb server answers: {error}") from error
    documents = []
    for phone in phones:
        if phone.serial in known:
            continue
        if phone.state != "device":
            print(f"left out: a phone that is {phone.state}", file=sys.stderr)
            continue
        documents.append({"transport": "adb", "address": address_of(client, phone.serial),
                          "work_folder": _PHONE_FOLDER, "processors": ["cpu"]})  # fmt: skip
    if not documents:
        raise UserError("adb lists no phone that has no file yet (user@host adds a board)")
    return documents


def print_devices(project: Project) -> None:
    """Print a table of the devices in devices/ with their answers, and below it what is wrong."""
    names = sorted(path.stem for path in project.devices.glob("*.yaml"))
    devices = [read_device(project, name, "cellfarm devices") for name in names]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = list(pool.map(lambda device: _ask(project, device), devices))
    table = Table(*_COLUMNS)
    notes = []
    for name, answer in zip(names, answers, strict=True):
        state = read_state(project, name)
        if isinstance(answer, str):
            table.add_row(name, "cannot be used")
            notes.append(f"{name}: {answer}")
        else:
            table.add_row(name, "emulated" if answer.get("emulated") else "ready", *_row(answer))
        if state.get("state") == ATTENTION:
            notes.append(f"{name} {ATTENTION}: it dropped out of a run ({state['doing']})")
    console = terminal_console()
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)


def _ask(project: Project, device: AnyDevice) -> dict[str, Any] | str:
    """A device's facts, or why there are none."""
    if device.out_of_service:
        return f"out of service: {device.out_of_service}"
    transport = open_device(device, project)
    try:
        facts = transport.facts()
        refuse_low_battery(device, facts)
    except CellfarmError as error:
        return str(error)
    finally:
        transport.close()
    return facts


def _row(facts: Mapping[str, Any]) -> list[str]:
    zones = facts["thermal_zones"]
    battery = facts["battery_percent"]
    return [
        *(escape(str(facts[name] or "n/a")) for name in ("model", "soc", "cores", "os")),
        "n/a" if facts["free_mb"] is None else f"{facts['free_mb'] / 1024:.1f} GB",
        f"{max(zones.values()):.0f} °C" if zones else "n/a",
        "n/a" if battery is None else f"{battery:.0f} %",
    ]
