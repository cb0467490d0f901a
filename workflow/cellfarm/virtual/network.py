"""A network namespace for a virtual board, so that it has an address of its own.

A pair of virtual Ethernet devices joins it to this machine. The namespace has no name: it ends with the last
process in it, and the kernel takes both devices away with it, whatever way that process ended.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..base.errors import PermanentHostError

#: Of the range that RFC 2544 sets aside for benchmarks: no network has them.
_NETWORK, _HERE = "198.18.78", 1
_BOARDS = range(2, 255)
#: The namespace's own end of the cable.
_THERE = "eth0"
_READY = "ready"
#: What the kernel says of a device's name that is taken.
_TAKEN = "File exists"


@dataclass(frozen=True)
class Namespace:
    """A network namespace that this machine reaches.

    Args:
        address: where what listens in it is reached, from this machine only.
        prefix: what a command begins with that is to run in it.
        cable: the network device in it that can be taken down; none if empty.
    """

    address: str
    prefix: tuple[str, ...] = ()
    cable: str = ""


LOOPBACK = Namespace("127.0.0.1")


@contextlib.contextmanager
def own_network() -> Iterator[Namespace]:
    """A namespace with an address, for the block and for what still runs in it afterwards.

    Raises:
        PermanentHostError: this user may not make one (it takes CAP_SYS_ADMIN and CAP_NET_ADMIN), or
            this machine cannot.
    """
    # Holds the namespace until something runs in it; ends with its input, and so with this process.
    argv = ["unshare", "--net", "sh", "-c", f"echo {_READY}; exec cat"]
    try:
        holder = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise PermanentHostError(f"{argv[0]}: {error.strerror}", argv) from error
    with holder:
        assert holder.stdout
        said = holder.stdout.readline().strip()
        if said != _READY:
            raise PermanentHostError(said or f"{argv[0]} ended", argv)
        prefix = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        yield Namespace(_join(holder.pid, prefix), prefix, _THERE)


@contextlib.contextmanager
def network_for_board(say: Callable[[str], None]) -> Iterator[Namespace]:
    """A namespace as `own_network` has it, or loopback, when `say` is told why."""
    with contextlib.ExitStack() as stack:
        network = LOOPBACK
        try:
            network = stack.enter_context(own_network())
        except PermanentHostError as error:
            say(str(error))
        yield network


def _join(pid: int, prefix: Sequence[str]) -> str:
    """Join the namespace of a process to this one; returns its address.

    The name of the device on this side decides whose address it is: the kernel gives it once.
    """
    here = f"{_NETWORK}.{_HERE}"
    for number in _BOARDS:
        device, there = f"cellfarm{number}", f"{_NETWORK}.{number}"
        try:
            run_ip(f"link add {device} type veth peer name {_THERE} netns {pid}")
        except PermanentHostError as error:
            if _TAKEN in str(error):
                continue
            raise
        run_ip(f"address add {here} peer {there} dev {device}", f"link set {device} up")
        run_ip(
            "link set lo up",
            f"address add {there} peer {here} dev {_THERE}",
            f"link set {_THERE} up",
            prefix=prefix,
        )
        return there
    raise PermanentHostError(f"all {len(_BOARDS)} addresses of virtual boards are taken")


def run_ip(*commands: str, prefix: Sequence[str] = ()) -> None:
    """Commands of `ip`.

    Args:
        prefix: see Namespace.

    Raises:
        PermanentHostError: one of them cannot be done.
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
