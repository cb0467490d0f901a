"""What the devices of a farm did with their time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise


@dataclass(frozen=True)
class Stay:
    """A runner on a device, gates too.

    Attributes:
        agent: tells the experiments of a device apart: each has an agent of its own.
    """

    mode: str
    agent: int
    began_s: float
    ended_s: float


@dataclass
class Shares:
    """Seconds, or after `divided` shares.

    Attributes:
        busy: a runner is on the device.
        before: until the device's first runner.
        within: between the runners of one experiment.
        between: from the last runner of an experiment to the first of the next.
        after: from the device's last runner.
    """

    busy: float = 0.0
    before: float = 0.0
    within: float = 0.0
    between: float = 0.0
    after: float = 0.0

    def divided(self, whole: float) -> Shares:
        return Shares(*(getattr(self, one.name) / whole for one in fields(self)))


def read_log(text: str) -> list[Stay]:
    """The lines of sleeping_runner, in the order in which they began."""
    stays = []
    for line in text.splitlines():
        mode, agent, began_ns, ended_ns = line.split()
        stays.append(Stay(mode, int(agent), int(began_ns) / 1e9, int(ended_ns) / 1e9))
    return sorted(stays, key=lambda one: one.began_s)


def shares(stays: Mapping[str, Sequence[Stay]], began_s: float, ended_s: float) -> Shares:
    """How all devices together spent a stretch of time, as shares of it.

    Args:
        stays: device -> what ran there, in order, one at a time; a device of which nothing is known
            waited all the time.
    """
    found = Shares()
    for one in stays.values():
        _add(found, one, began_s, ended_s)
    return found.divided(len(stays) * (ended_s - began_s))


def _add(found: Shares, stays: Sequence[Stay], began_s: float, ended_s: float) -> None:
    if not stays:
        found.before += ended_s - began_s
        return
    found.before += stays[0].began_s - began_s
    found.after += ended_s - stays[-1].ended_s
    found.busy += sum(one.ended_s - one.began_s for one in stays)
    for one, following in pairwise(stays):
        gap_s = following.began_s - one.ended_s
        if one.agent == following.agent:
            found.within += gap_s
        else:
            found.between += gap_s


def gaps_s(stays: Iterable[Sequence[Stay]], within: bool) -> list[float]:
    """Between runners of one experiment, or between experiments; of all devices."""
    return [
        following.began_s - one.ended_s
        for device in stays
        for one, following in pairwise(device)
        if (one.agent == following.agent) is within
    ]


def most_at_once(stays: Iterable[Sequence[Stay]]) -> int:
    """On how many devices a runner was at the same time, at most."""
    changes = sorted(
        change
        for device in stays
        for one in device
        for change in ((one.began_s, 1), (one.ended_s, -1))
    )
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
