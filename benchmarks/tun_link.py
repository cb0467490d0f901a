"""A link with a delay and losses, between this machine and a network namespace: no `tc netem` is needed.

There is a TUN device on either side, and a process that carries packets from one to the other, each
after a delay and some never. `connected` starts that process; run as a module, this is it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cellfarm.base.processes import die_with_parent

from .figures import REPOSITORY, NotMeasurable

#: Of the range that RFC 2544 sets aside for benchmarks: no network has them.
LOCAL_ADDRESS, REMOTE_ADDRESS = "198.18.77.1", "198.18.77.2"
_READY = "ready"
_TUN = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_PACKET_BYTES = 1 << 16
#: A queue of the kernel's that no packet is lost from: losses are this module's own.
_QUEUE_PACKETS = "10000"
#: Of TCP, on both sides: Linux's default. Others, such as bbr, hardly mind losses.
CONGESTION_CONTROL = "cubic"


@dataclass(frozen=True)
class TunLink:
    """A running link.

    Args:
        address: the other side's address.
        prefix: the start of a command that runs on the other side.
    """

    address: str
    prefix: tuple[str, ...]
    _process: subprocess.Popen[str]

    def counted(self) -> dict[str, int]:
        """{"carried", "dropped"}: packets so far, both ways."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def connected(delay_ms: float, loss: float, seed: int = 0) -> Iterator[TunLink]:
    """A link to a namespace; both, and all that uses them, end with the block.

    Args:
        delay_ms: each way.
        loss: the share of the packets that is lost, each way.

    Raises:
        NotMeasurable: this user or this kernel does not allow it.
    """
    argv = [sys.executable, "-m", "benchmarks.tun_link", str(delay_ms), str(loss), str(seed)]
    process = subprocess.Popen(
        argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent,
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline().strip()
        if line != _READY:
            raise NotMeasurable(
                f"no link with losses: {line or 'its process ended'}; it needs root, or "
                "CAP_NET_ADMIN, and /dev/net/tun"
            )
        prefix = ("nsenter", f"--net=/proc/{process.pid}/ns/net")
        yield TunLink(REMOTE_ADDRESS, prefix, process)
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Way:
    """Packets from one device to the other, in the order of their arrival.

    Args:
        chance: decides which packets are lost.
    """

    source: int
    sink: int
    delay_s: float
    loss: float
    chance: random.Random
    carried: int = 0
    dropped: int = 0
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take_in(self, now_s: float) -> None:
        """Read the packets that arrived."""
        while True:
            try:
                packet = os.read(self.source, _PACKET_BYTES)
            except BlockingIOError:
                return
            if self.chance.random() < self.loss:
                self.dropped += 1
            else:
                self.carried += 1
                self.waiting.append((now_s + self.delay_s, packet))

    def hand_on(self, now_s: float) -> None:
        """Write the packets that have waited long enough."""
        while self.waiting and self.waiting[0][0] <= now_s:
            _, packet = self.waiting.popleft()
            with contextlib.suppress(
                OSError
            ):  # the other side is down: the packet is lost as on any network
                os.write(self.sink, packet)


def carry(directions: list[Way], commands: IO[str]) -> None:
    """Carry packets until the commands end; the counts answer each line of them."""
    sources = {direction.source: direction for direction in directions}
    while True:
        due_s = min(
            (direction.waiting[0][0] for direction in directions if direction.waiting), default=None
        )
        left_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        ready, _, _ = select.select([*sources, commands.fileno()], [], [], left_s)
        now_s = time.monotonic()
        for descriptor in ready:
            if descriptor == commands.fileno():
                if not commands.readline():
                    return
                counts = {
                    "carried": sum(direction.carried for direction in directions),
                    "dropped": sum(direction.dropped for direction in directions),
                }
                print(json.dumps(counts), flush=True)
            else:
                sources[descriptor].take_in(now_s)
        for direction in directions:
            direction.hand_on(now_s)


def _open_tun(own: str, peer: str) -> int:
    """A TUN device in the namespace that this process is in now, up; returns its descriptor."""
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", b"cellfarm%d", _IFF_TUN | _IFF_NO_PI)
    reply = fcntl.ioctl(descriptor, _TUNSETIFF, request)
    name = reply[:16].rstrip(b"\0").decode()
    _ip("address", "add", own, "peer", peer, "dev", name)
    _ip("link", "set", name, "txqueuelen", _QUEUE_PACKETS, "up")
    route = ["dev", name, "src", own, "congctl", CONGESTION_CONTROL]
    _ip("route", "replace", peer, *route)
    return descriptor


def _ip(*arguments: str) -> None:
    completed = subprocess.run(
        ["ip", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise OSError(f"ip {' '.join(arguments[:2])}: {completed.stderr.strip()}")


def main() -> None:
    """`python -m benchmarks.tun_link DELAY_MS LOSS SEED`: says `ready`; ends with its standard input."""
    delay_s, loss, seed = float(sys.argv[1]) / 1e3, float(sys.argv[2]), int(sys.argv[3])
    try:
        local = _open_tun(LOCAL_ADDRESS, REMOTE_ADDRESS)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(f"no namespace: {os.strerror(ctypes.get_errno())}")
        _ip("link", "set", "lo", "up")
        remote = _open_tun(REMOTE_ADDRESS, LOCAL_ADDRESS)
    except OSError as error:
        sys.exit(f"{error.strerror or error} ({error.filename or 'TUN'})")
    print(_READY, flush=True)
    chance = random.Random(seed)
    carry(
        [Way(local, remote, delay_s, loss, chance), Way(remote, local, delay_s, loss, chance)],
        sys.stdin,
    )


if __name__ == "__main__":
    main()
