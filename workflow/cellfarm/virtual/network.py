"""A network namespace for a virtual board, so that it has its own address.

A pair of virtual Ethernet devices joins it to this machine. The namespace has no name: the kernel removes it
and both devices with the last process in it, however that process ends.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..base.errors import PermanentHostError

#: From the range that RFC 2544 reserves for benchmarks; no network uses it.
_NETWORK, _HOST_NUMBER = "198.18.78", 1
_BOARD_NUMBERS = range(2, 255)
#: The end of the cable in the namespace.
_BOARD_DEVICE = "eth0"
_READY = "ready"
#: The kernel's error for a device name that is in use.
_TAKEN = "File exists"


@dataclass(frozen=True)
class Namespace:
    """A network namespace that this machine reaches.

    Args:
        address: its address, reachable only from this machine.
        prefix: the start of commands that run in it.
        cable: its network device, which can be taken down; empty: none.
    """

    address: str
    prefix: tuple[str, ...] = ()
    cable: str = ""


LOOPBACK = Namespace("127.0.0.1")


@contextlib.contextmanager
def network_namespace() -> Iterator[Namespace]:
    """A namespace with an address, for the block and for processes that still run in it afterwards.

    Raises:
        PermanentHostError: this user may not make a namespace (it takes CAP_SYS_ADMIN and
            CAP_NET_ADMIN), or this machine cannot.
    """
    # `cat` keeps the namespace until other processes run in it; it ends with this process.
    argv = ["unshare", "--net", "sh", "-c", f"echo {_READY}; exec cat"]
    try:
        holder = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise PermanentHostError(f"{argv[0]}: {error.strerror}", argv) from error
    with holder:
        assert holder.stdout
        line = holder.stdout.readline().strip()
        if line != _READY:
            raise PermanentHostError(line or f"{argv[0]} ended", argv)
        prefix = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        yield Namespace(_join(holder.pid, prefix), prefix, _BOARD_DEVICE)


@contextlib.contextmanager
def network_for_board(report: Callable[[str], None]) -> Iterator[Namespace]:
    """A namespace, see `network_namespace`; else loopback, with the reason passed to `report`."""
    with contextlib.ExitStack() as stack:
        network = LOOPBACK
        try:
            network = stack.enter_context(network_namespace())
        except PermanentHostError as error:
            report(str(error))
        yield network


def _join(pid: int, prefix: Sequence[str]) -> str:
    """Connect the namespace of a process to this machine; returns its address.

    The kernel gives the name of the device on this side only once, so the address is unique.
    """
    host = f"{_NETWORK}.{_HOST_NUMBER}"
    for number in _BOARD_NUMBERS:
        device, address = f"cellfarm{number}", f"{_NETWORK}.{number}"
        try:
            run_ip(f"link add {device} type veth peer name {_BOARD_DEVICE} netns {pid}")
        except PermanentHostError as error:
            if _TAKEN in str(error):
                continue
            raise
        run_ip(f"address add {host} peer {address} dev {device}", f"link set {device} up")
        run_ip(
            "link set lo up",
            f"address add {address} peer {host} dev {_BOARD_DEVICE}",
            f"link set {_BOARD_DEVICE} up",
            prefix=prefix,
        )
        return address
    raise PermanentHostError(f"all {len(_BOARD_NUMBERS)} addresses of virtual boards are taken")


def run_ip(*commands: str, prefix: Sequence[str] = ()) -> None:
    """Run commands of `ip`.

    Args:
        prefix: see Namespace.

    Raises:
        PermanentHostError: a command fails.
    """
    argv = [*prefix, "ip", "-batch", "-"]
    text = "".join(f"{command}\n" for command in commands)
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PermanentHostError(f"{argv[0]}: {error.strerror}", argv) from error
    if done.returncode:
        problem = done.stderr.strip().partition("\n")[0]
        raise PermanentHostError(f"ip: {problem}", argv, done.returncode, done.stderr)
