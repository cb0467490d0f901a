"""What the sampler of conditions costs the cell that it watches.

A pair is a launch with the sampler at the protocol's rate and one without, one right after the
other, each behind a gate, which of them first alternating: the real runner, on the processors that
the product chooses. The figure is the ratio of the medians of the launches' medians, with and
without, less 1; the geometric mean over the settings, with a bootstrap interval over the pairs.

Baseline: the launches without the sampler against themselves, even pairs against odd ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from cellfarm.wanted.protocols import Conditions, Protocol
from msgspec import structs

from .comparing import (
    percent,
    percent_interval,
    ratio_of_medians,
    ratio_of_medians_interval,
)
from .direct import Subject, open_direct
from .figures import Baseline, Figure, Options, keep_raw, shown
from .lab import LATENCY_ONLY, PATIENT, open_lab

TARGET_PERCENT = 1.0
SHARE_TARGET_PERCENT = 1.0
MODELS = ["squeezenet1_1"]
LIBRARIES = ["ncnn", "onnxruntime"]
THREADS = [1, 2]
PAIRS = 24  # of each setting


@dataclass
class Setting:
    """One cell: medians of its launches in ms, with and without, and the sampler's CPU time."""

    subject: Subject
    watched_ms: list[float] = field(default_factory=list)
    alone_ms: list[float] = field(default_factory=list)
    cpu_shares: list[float] = field(default_factory=list)
    disturbed: int = 0

    def launch(self, protocol: Protocol, sampled: bool) -> None:
        self.disturbed += not self.subject.gate()
        launch = self.subject.launch(protocol)
        (self.watched_ms if sampled else self.alone_ms).append(float(median(launch["warm_ms"])))
        share = launch["resources"].get("sampler_cpu_share")
        if sampled and share is not None:
            self.cpu_shares.append(float(share))

    def as_dict(self) -> dict[str, Any]:
        return {"cell": self.subject.name, "watched_ms": self.watched_ms,
                "alone_ms": self.alone_ms, "disturbed": self.disturbed,
                "sampler_cpu_shares": self.cpu_shares}  # fmt: skip


def measure(options: Options) -> list[Figure]:
    pairs = options.runs or (2 if options.quick else PAIRS)
    libraries = LIBRARIES[:1] if options.quick else LIBRARIES
    with open_lab("sampler_cost") as lab:
        gates = {} if options.quick else {"gates": PATIENT}
        sampled = lab.protocol("quick", options, LATENCY_ONLY, **gates)
        alone = structs.replace(sampled, conditions=Conditions(0))
        axes = {"models": MODELS, "libraries": libraries, "threads": THREADS}
        with open_direct(lab, sampled, **axes) as subjects:
            settings = [Setting(subject) for subject in subjects]
            for number in range(pairs):
                for setting in settings:
                    for with_it in (number % 2 == 0, number % 2 == 1):
                        setting.launch(sampled if with_it else alone, with_it)
                print(f"  pair {number + 1} of {pairs}: {_shown(settings)}", flush=True)
    keep_raw("sampler_cost", options, [setting.as_dict() for setting in settings])
    interval_ms = sampled.conditions.interval_ms
    return [_cost(settings, interval_ms), *_shares(settings)]


def _cost(settings: list[Setting], interval_ms: float) -> Figure:
    sampled = [setting.watched_ms for setting in settings]
    alone = [setting.alone_ms for setting in settings]
    even = [setting[::2][: len(setting) // 2] for setting in alone]
    odd = [setting[1::2] for setting in alone]
    return Figure(
        what=f"latency with the sampler (every {interval_ms:g} ms) less that without",
        value=percent(ratio_of_medians(sampled, alone)),
        unit="%",
        target=TARGET_PERCENT,
        baselines=[
            Baseline("without, even less odd pairs", percent(ratio_of_medians(even, odd)), "%")
        ]
        if all(odd)
        else [],
        details={
            "95 % interval": percent_interval(ratio_of_medians_interval(sampled, alone)),
            "pairs": sum(map(len, sampled)),
            "launches that a gate complained of": sum(setting.disturbed for setting in settings),
            **{setting.subject.name: _described(setting) for setting in settings},
        },
    )


def _described(setting: Setting) -> str:
    bounds = ratio_of_medians_interval([setting.watched_ms], [setting.alone_ms])
    ratio = ratio_of_medians([setting.watched_ms], [setting.alone_ms])
    return (
        f"{percent(ratio):+.2f} % ({percent_interval(bounds)}); with {shown(median(setting.watched_ms))} "
        f"ms, without {shown(median(setting.alone_ms))} ms"
    )


def _shares(settings: list[Setting]) -> list[Figure]:
    shares = [share for setting in settings for share in setting.cpu_shares]
    if not shares:
        return []
    return [
        Figure(
            what="the sampler's own CPU time, of one core",
            value=100 * median(shares),
            unit="%",
            target=SHARE_TARGET_PERCENT,
            details={"largest": f"{100 * max(shares):.2f} %", "launches": len(shares)},
        )
    ]


def _shown(settings: list[Setting]) -> str:
    return ", ".join(
        f"{setting.subject.name} {setting.watched_ms[-1]:.2f} / {setting.alone_ms[-1]:.2f} ms"
        for setting in settings
    )
