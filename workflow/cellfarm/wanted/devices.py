"""A device's description: one file in devices/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..base.documents import parse
from ..base.errors import UserError
from ..base.names import NAME_PATTERN, UNIQUE, Label, Processor

HostName = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}$", description="a host's name or address")
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port from 1 to 65535")]
LocalPath = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        description="a path on this machine; a relative one is of the project",
    ),
]


WorkFolder = Annotated[
    str,
    Meta(
        max_length=1000,
        pattern="^(results/work/[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*"
        "|/[A-Za-z0-9_.+ -]+(/[A-Za-z0-9_.+ -]+)+)$",
        description="a folder that cellfarm may fill: results/work/<name> on this machine, or an "
        "absolute path of two folders or more",
    ),
]
RemoteFolder = Annotated[
    str,
    Meta(
        max_length=1000,
        pattern="^/[A-Za-z0-9_.+ -]+(/[A-Za-z0-9_.+ -]+)+$",
        description="an absolute path on the device, of two folders or more",
    ),
]
Setting = Annotated[str, Meta(min_length=1, max_length=1000)]


class SshAddress(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a board is; `jump` is the host that leads to it."""

    host: HostName
    user: Annotated[
        str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_.-]{0,63}$", description="a user's name")
    ]
    port: Port | None = None
    key_file: LocalPath | None = None
    known_hosts: LocalPath | None = None
    jump: SshAddress | None = None


class AdbAddress(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which phone of which adb server."""

    serial: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}$",
            description="a serial number, or host:port",
        ),
    ]
    server_host: HostName | None = None
    server_port: Port | None = None


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a device may be asked to bear; None: the default of cellfarm.devices.limits."""

    work_folder_mb: (
        Annotated[
            int,
            Meta(
                ge=100,
                description="what its work folder may hold, in MB, 100 or more; what was not used "
                "for longest is removed",
            ),
        ]
        | None
    ) = None
    battery_percent: (
        Annotated[
            float,
            Meta(ge=0, le=100, description="a device whose battery is below this is left out"),
        ]
        | None
    ) = None
    patience_s: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=86400,
                description="how long the device is called again when it is lost, in seconds",
            ),
        ]
        | None
    ) = None


class Device(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that runs artifacts; the transports' own classes say how it is reached."""

    name: Annotated[
        str, Meta(pattern=NAME_PATTERN, description="the file's own name without .yaml")
    ]
    work_folder: WorkFolder
    processors: Annotated[
        tuple[Processor, ...],
        Meta(
            min_length=1,
            extra_json_schema=UNIQUE,
            description="the processors that may be measured",
        ),
    ]
    labels: Annotated[
        tuple[Label, ...],
        Meta(
            extra_json_schema=UNIQUE,
            description="a list of labels, by which a config selects devices: label:<label>",
        ),
    ] = ()
    out_of_service: (
        Annotated[
            str,
            Meta(
                min_length=1, max_length=500, description="why the device is not to be used for now"
            ),
        ]
        | None
    ) = None
    limits: Annotated[Limits, Meta(description="what the device may be asked to bear")] = Limits()
    native: Annotated[
        tuple[str, ...],
        Meta(
            extra_json_schema={**UNIQUE, "minItems": 1},
            description="a list of libraries that run there in their native runners, without Python",
        ),
    ] = ()
    tools: Annotated[
        dict[str, Setting],
        Meta(description="the vendors' own tools on the device: name -> path there"),
    ] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return isinstance(self, LocalDevice)

    @property
    def runs_python(self) -> bool:
        """Whether Python may run there."""
        return self.python if isinstance(self, RemoteDevice) else True


class LocalDevice(Device, frozen=True, tag_field="transport", tag="local"):
    """This machine."""


class RemoteDevice(Device, frozen=True):
    """A device at the other end of a link."""

    python: Annotated[
        bool,
        Meta(
            description="whether Python may run on the device; false: only the libraries under "
            "'native' are measured, without gates"
        ),
    ] = True


class SshDevice(RemoteDevice, frozen=True, kw_only=True, tag_field="transport", tag="ssh"):
    """A board."""

    address: Annotated[SshAddress, Meta(description="where it is: host, user, port, key_file, ...")]
    work_folder: RemoteFolder


class AdbDevice(RemoteDevice, frozen=True, kw_only=True, tag_field="transport", tag="adb"):
    """A phone."""

    address: Annotated[
        AdbAddress, Meta(description="where it is: serial, server_host, server_port")
    ]
    work_folder: RemoteFolder


class _AnyTransport(Device, frozen=True, kw_only=True):
    transport: Literal["local", "ssh", "adb"]


AnyDevice = LocalDevice | SshDevice | AdbDevice
#: transport -> the class of its devices
TRANSPORTS: dict[str, type[LocalDevice] | type[SshDevice] | type[AdbDevice]] = {
    "local": LocalDevice, "ssh": SshDevice, "adb": AdbDevice
}  # fmt: skip


def parse_device(document: Any, where: str) -> AnyDevice:
    """A device from its parsed file.

    Raises:
        UserError: it is not what its transport asks for.
    """
    transport = document.get("transport") if isinstance(document, Mapping) else None
    kind = TRANSPORTS.get(transport) if isinstance(transport, str) else None
    if kind is None:
        parse(document, _AnyTransport, where)
        raise UserError(f"{where}: key 'transport': expected one of {', '.join(TRANSPORTS)}")
    return parse(document, kind, where)
