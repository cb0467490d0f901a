"""A virtual phone: an ADB daemon, confined to its own file system.

The file system is a phone's, not a board's: /system/bin/sh with a busybox for toybox, /data/local/tmp,
/proc and a /proc/cpuinfo of an ARM machine; no /bin, /etc, /tmp. Commands are arm64 programs, for which the
kernel starts qemu (binfmt_misc, in a user namespace of the phone: Linux 6.7 or newer, or root).
"""

from __future__ import annotations

import asyncio
import ctypes
import encodings.idna  # noqa: F401 (nothing can be imported after `confine`)
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..base.errors import PermanentHostError
from ..base.processes import adopt_orphans, kill_descendants
from . import adb_services, fault_control
from .adb_wire import Faults, Wire

#: A variable that every command on a virtual device sees.
VIRTUAL = "CELLFARM_VIRTUAL"
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WORK_FOLDER = "/data/local/tmp/cellfarm"
#: The phone's file system, in its folder.
ROOT = "root"
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
# The first bytes of an arm64 ELF file, and which of them count (qemu's binfmt configuration).
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

CPUINFO = "".join(
    f"""processor\t: {number}
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 1

"""
    for number in range(os.cpu_count() or 1)
)

PROPERTIES = {
    "ro.product.manufacturer": "cellfarm",
    "ro.product.model": "Virtual Phone",
    "ro.soc.manufacturer": "QEMU",
    "ro.soc.model": "cortex-a76",
    "ro.board.platform": "qemu",
    "ro.product.cpu.abilist": "arm64-v8a",
    "ro.product.cpu.abilist64": "arm64-v8a",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "cellfarm/virtual/virtual:14/CF1A.000001.001/1:user/release-keys",
}

_CORES = range(os.cpu_count() or 1)
_CPU = "sys/devices/system/cpu"
_POLICY = f"{_CPU}/cpufreq/policy0"
#: Plain files without effect: the processors, as libraries count them (XNNPACK in LiteRT needs them), and a
#: frequency domain with a governor that can be set.
_SYS_FILES = {
    **{f"{_CPU}/{name}": f"{_CORES[0]}-{_CORES[-1]}" for name in ("possible", "present", "online")},
    f"{_POLICY}/related_cpus": " ".join(map(str, _CORES)),
    f"{_POLICY}/cpuinfo_max_freq": "2400000",
    f"{_POLICY}/scaling_available_governors": "schedutil performance powersave",
    f"{_POLICY}/scaling_governor": "schedutil",
}

#: The commands of a phone that busybox provides.
_APPLETS = """
    cat chmod chown cp date dd df du echo env false find grep gunzip gzip head id kill ln ls mkdir mv
    nohup ps pwd readlink realpath rm rmdir sed setsid sha256sum sh sleep sort stat sync tail tar
    taskset tee test timeout top touch true tr uname wc which xargs
""".split()  # noqa: SIM905 (a list of 50 is hard to read)
_GETPROP = """#!/system/bin/sh
if [ $# -eq 0 ]; then
    while IFS='=' read -r name value; do echo "[$name]: [$value]"; done </system/build.prop
else
    while IFS='=' read -r name value; do [ "$name" = "$1" ] && echo "$value"; done </system/build.prop
fi
exit 0
"""


def lay_out(root: Path, busybox: Path) -> None:
    """Make a phone's file system anew, except /data.

    Args:
        busybox: a static arm64 program.
    """
    shutil.rmtree(root / "system", ignore_errors=True)
    for name in ("system/bin", "data/local/tmp", "proc", _POLICY, "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _SYS_FILES.items():
        (root / name).write_text(f"{text}\n", encoding="utf-8")
    binaries = root / "system/bin"
    shutil.copyfile(busybox, binaries / "busybox")
    (binaries / "busybox").chmod(0o755)
    for applet in _APPLETS:
        (binaries / applet).symlink_to("busybox")
    (binaries / "getprop").write_text(_GETPROP, encoding="utf-8")
    (binaries / "getprop").chmod(0o755)
    lines = "".join(f"{name}={value}\n" for name, value in PROPERTIES.items())
    (root / "system/build.prop").write_text(lines, encoding="utf-8")
    (root / "system/cpuinfo").write_text(CPUINFO, encoding="utf-8")


def confine(root: Path, qemu: str, storage_mb: int = 0) -> None:
    """Exchange the host's file system for the phone's, in new namespaces of this process.

    Args:
        qemu: the program that runs arm64 programs.
        storage_mb: how much /data holds, in memory; 0: as much as this disk, and it is kept.

    Raises:
        PermanentHostError: this kernel or user is not allowed to.
    """
    user, group = os.getuid(), os.getgid()
    kinds = _CLONE_NEWNS | _CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds):
        raise PermanentHostError(
            f"no namespaces for a virtual phone: {os.strerror(ctypes.get_errno())}"
        )
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {user} 1")
    _write("/proc/self/gid_map", f"0 {group} 1")
    _mount(libc, None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount(libc, "binfmt_misc", str(_BINFMT), "binfmt_misc", 0)
    # F: the interpreter is opened now, so the phone's file system need not hold it. P: programs get
    # their argv[0], by which busybox chooses the command.
    _write(str(_BINFMT / "register"), f":cellfarm-arm64:M::{_MAGIC}:{_MASK}:{qemu}:POCF")
    _mount(libc, "/proc", str(root / "proc"), None, _MS_BIND | _MS_REC)
    _mount(libc, str(root / "system/cpuinfo"), str(root / "proc/cpuinfo"), None, _MS_BIND)
    if storage_mb:
        _mount(libc, "tmpfs", str(root / "data"), "tmpfs", 0, f"size={storage_mb}m")
        (root / "data/local/tmp").mkdir(parents=True)
    for device in ("null", "zero", "urandom", "random", "full"):
        (root / "dev" / device).touch()
        _mount(libc, f"/dev/{device}", str(root / "dev" / device), None, _MS_BIND)
    os.chroot(root)
    os.chdir("/")


def _mount(
    libc: ctypes.CDLL, source: str | None, target: str, kind: str | None, flags: int, more: str = ""
) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), more.encode() or None):
        raise PermanentHostError(
            f"{target} cannot be mounted for a virtual phone: {os.strerror(ctypes.get_errno())}"
        )


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PermanentHostError(
            f"no virtual phone: {path} cannot be written: {error.strerror}"
        ) from error


def faults_of(state: Faults) -> dict[str, Callable[[], None]]:
    """The faults of a phone that is connected."""

    def set_to(name: str, value: bool) -> Callable[[], None]:
        def inflict() -> None:
            setattr(state, name, value)
            state.cut()

        return inflict

    def reboot() -> None:
        kill_descendants()
        state.cut()

    return {
        "cut": state.cut,
        "freeze": state.awake.clear,
        "thaw": state.awake.set,
        "unauthorize": set_to("authorised", False),
        "authorize": set_to("authorised", True),
        "offline": set_to("silent", True),
        "online": set_to("silent", False),
        "reboot": reboot,
    }


async def serve(port: int, ready: int, control: socket.socket) -> None:
    """The ADB daemon of a phone to which this process is confined.

    Args:
        port: on loopback; 0: any free one.
        ready: descriptor to which the port is written as soon as the daemon listens.
        control: the socket for faults, see cellfarm.virtual.fault_control.
    """
    names = ("ro.product.name", "ro.product.model", "ro.product.device")
    properties = ";".join(f"{name}={PROPERTIES.get(name, 'virtual')}" for name in names)
    banner = f"device::{properties};features={adb_services.FEATURES}".encode()
    variables = {"PATH": "/system/bin", "HOME": "/", "ANDROID_DATA": "/data", VIRTUAL: "1"}
    state = Faults()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(
            reader, writer, banner, lambda name: adb_services.service(name, variables), state
        )
        await wire.serve()

    listener = _Listener(connected)
    port = await listener.open(port)

    def leave() -> None:
        listener.close()
        state.cut()

    def come_back() -> None:
        listener.opening = asyncio.create_task(listener.open(port))

    faults = faults_of(state) | {"leave": leave, "return": come_back}
    async with await fault_control.serve_faults(control, faults):
        os.write(ready, f"{port}\n".encode())
        await asyncio.Event().wait()


class _Listener:
    """Accepts connections while it is open."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._server: asyncio.Server | None = None
        self.opening: asyncio.Task[int] | None = None

    async def open(self, port: int) -> int:
        """Listen on a port, 0 for any free one; returns the port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()


def main() -> None:
    """`python -m cellfarm.virtual.phone FOLDER QEMU PORT STORAGE_MB`: prints the port as soon as it
    listens; its file system is FOLDER/root."""
    folder, qemu, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    control = fault_control.listen(folder)
    adopt_orphans()
    confine(folder / ROOT, qemu, int(sys.argv[4]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asyncio.run(serve(port, 1, control))
    except KeyboardInterrupt:
        pass
    finally:
        kill_descendants()


if __name__ == "__main__":
    main()
