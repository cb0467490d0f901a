"""Warm latency, inferences one after the other."""

from __future__ import annotations

from ..timing import TimingHost, TimingSettings


class Latency(TimingHost[TimingSettings]):
    """See measure.yaml."""

    schema = TimingSettings


HOST = Latency()
