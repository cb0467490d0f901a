"""How the devices of a farm spent their time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise


@dataclass(frozen=True)
class Stay:
    """The time of a runner (or gate) on a device.

    Attributes:
        agent: identifies the experiment: each has its own agent.
    """

    mode: str
    agent: int
    began_s: float
    ended_s: float


@dataclass
class Shares:
    """Seconds; shares after `divided`.

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

    def divided(self, total_s: float) -> Shares:
        return Shares(*(getattr(self, field.name) / total_s for field in fields(self)))


def read_log(text: str) -> list[Stay]:
    """The spans in a log of sleeping_runner, in the order of their beginnings."""
    spans = []
    for line in text.splitlines():
        mode, agent, began_ns, ended_ns = line.split()
        spans.append(Stay(mode, int(agent), int(began_ns) / 1e9, int(ended_ns) / 1e9))
    return sorted(spans, key=lambda span: span.began_s)


def shares(spans: Mapping[str, Sequence[Stay]], began_s: float, ended_s: float) -> Shares:
    """How all devices together spent a stretch of time, as shares of it.

    Args:
        spans: device -> its runners in order, one at a time; a device without any
            waited all the time.
    """
    total = Shares()
    for device_spans in spans.values():
        _add(total, device_spans, began_s, ended_s)
    return total.divided(len(spans) * (ended_s - began_s))


def _add(total: Shares, spans: Sequence[Stay], began_s: float, ended_s: float) -> None:
    if not spans:
        total.before += ended_s - began_s
        return
    total.before += spans[0].began_s - began_s
    total.after += ended_s - spans[-1].ended_s
    total.busy += sum(span.ended_s - span.began_s for span in spans)
    for span, following in pairwise(spans):
        gap_s = following.began_s - span.ended_s
        if span.agent == following.agent:
            total.within += gap_s
        else:
            total.between += gap_s


def gaps_s(spans: Iterable[Sequence[Stay]], within: bool) -> list[float]:
    """The gaps between runners of one experiment, or between experiments, of all devices."""
    return [
        following.began_s - span.ended_s
        for device in spans
        for span, following in pairwise(device)
        if (span.agent == following.agent) is within
    ]


def most_at_once(spans: Iterable[Sequence[Stay]]) -> int:
    """The largest number of devices with a runner at the same time."""
    changes = sorted(
        change
        for device in spans
        for span in device
        for change in ((span.began_s, 1), (span.ended_s, -1))
    )
    current = most = 0
    for _, change in changes:
        current += change
        most = max(most, current)
    return most
