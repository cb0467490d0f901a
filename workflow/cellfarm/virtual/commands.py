"""`cellfarm virtual`: devices on this machine, to try a farm without one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

import typer
import yaml

from ..base.errors import UserError
from ..base.files import write_atomically
from ..base.project import Project
from ..cli.names import check_name
from ..wanted.configuration import read_device

app = typer.Typer(
    help="Virtual devices: nothing they measure is a result. A device's file stays when it ends, to start it "
    "again under the same name; delete devices/<name>.yaml when you are done.",
    no_args_is_help=True,
)
_LABEL = "virtual"
NameOption = Annotated[str, typer.Option(help="The device's name: devices/<name>.yaml is written.")]
PortOption = Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)]
_ON_LOOPBACK = "on a loopback port"


@app.command()
def phone(name: NameOption = "virtual_phone", port: PortOption = 0) -> None:
    """An arm64 phone behind the adb server, until Ctrl-C."""
    _serve("phone", name, port, _ON_LOOPBACK)


@app.command()
def board(
    name: NameOption = "virtual_board",
    port: PortOption = 0,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="No address of its own: a port on loopback.")
    ] = False,
) -> None:
    """A board behind an sshd of its own, until Ctrl-C. It has an address of its own, in a network
    namespace, where this user may make one (root), else a port on loopback."""
    from .network import LOOPBACK, network_for_board

    def report(reason: str) -> None:
        print(f"{name} gets no network namespace: {reason}", flush=True)

    with nullcontext(LOOPBACK) if loopback else network_for_board(report) as network:
        where = f"in a network namespace, at {network.address}" if network.cable else _ON_LOOPBACK
        _serve("board", name, port, where, network=network)


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="A virtual device that runs.")],
    what: Annotated[str, typer.Argument(help="cut, freeze, thaw, leave, return, reboot, unauthorize, "
                                             "authorize; a phone also offline, online; a board also "
                                             "change_key and, with an address of its own, unplug, plug.")],
) -> None:  # fmt: skip
    """Let something go wrong on a virtual device."""
    from .starting import inflict

    inflict(Project.here(), name, what)


def _serve(kind: str, name: str, port: int, where: str, **network: Any) -> None:
    from . import starting  # only when needed: adbutils is slow to import

    check_name(name)
    project = Project.here()
    path = project.devices / f"{name}.yaml"
    if path.exists():
        existing = read_device(project, name, "cellfarm virtual")
        if _LABEL not in existing.labels:
            raise UserError(
                f"{project.relative(path)} is not a virtual device: give another --name"
            )
    start = starting.virtual_phone if kind == "phone" else starting.virtual_board
    with start(project, name, port, **network) as device:
        text = yaml.safe_dump(device.document, sort_keys=False)
        write_atomically(path, f"# Written by `cellfarm virtual`; emulated.\n{text}")
        print(
            f"{name} is up {where}: snakemake --config devices={name}  (Ctrl-C ends it)", flush=True
        )
        code = device.process.wait()
        raise UserError(f"{name} ended with {code}: see results/virtual/{name}/log")
