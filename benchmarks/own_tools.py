"""Warm latency against each library's own benchmark tool, or a plain loop over its interface.

LiteRT's wheel has a benchmark; for the other libraries the baseline is a script of their own in
benchmarks/loops that imports the library and numpy only. The loops ask for the same threads and for
full precision, and are otherwise what the library's documentation shows: ONNX Runtime's `run`
without bound outputs, ExecuTorch's `forward` with copied outputs.

A pair is one launch of cellfarm's runner and one run of the tool, each behind a gate, which of them
first alternating. Both are fresh processes of the same interpreter on the same processors, with the
same number of inferences; the tool leaves out as many at the start as the runner left out in its
last launch. Both give the median of the rest.

The figures are the geometric means of the ratios runner/tool, less 1, with a bootstrap interval
over the pairs. Baseline: the tool against itself, its even runs against its odd ones.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from .comparing import geometric_interval, geometric_mean, percent, percent_interval
from .direct import Subject, open_direct
from .figures import Baseline, Figure, Options, keep_raw, shown
from .lab import LATENCY_ONLY, PATIENT, open_lab
from .tools import Iterations, run_tool, tool_name

TARGET_PERCENT = 2.0
LIBRARIES = ["litert", "onnxruntime", "ncnn", "mnn", "executorch"]
MODELS = ["mobilenet_v2", "squeezenet1_1"]
THREADS = [1]
PAIRS = 12


def measure(options: Options) -> list[Figure]:
    pairs = options.runs or (2 if options.quick else PAIRS)
    models = MODELS[1:] if options.quick else MODELS
    found = compare(options, pairs, models=models, libraries=LIBRARIES, threads=THREADS)
    keep_raw("own_tools", options, [one.as_dict() for one in found])
    return [
        library_figure(library, [one for one in found if one.library == library], TARGET_PERCENT)
        for library in LIBRARIES
    ]


class Compared:
    """The pairs of one cell: medians in ms."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.library = subject.planned.cell.library
        self.name = subject.name
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.undisturbed: list[bool] = []
        self.counts = Iterations(0, 0)

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        return {"cell": self.name, "tool": tool_name(self.library), "runner_ms": self.ours,
                "tool_ms": self.theirs, "undisturbed": self.undisturbed, "warmup": self.counts.warmup,
                "samples": self.counts.samples}  # fmt: skip

    def run(self, ours_first: bool) -> None:
        """One pair; it is undisturbed if both gates found the machine quiet and fast."""
        gates = []
        for ours in (ours_first, not ours_first):
            gates.append(self.subject.gate())
            if ours:
                self.ours.append(self.by_runner())
            else:
                self.theirs.append(run_tool(self.subject, self.counts))
        self.undisturbed.append(all(gates))

    def by_runner(self) -> float:
        launch = self.subject.launch()
        self.counts = Iterations.of(launch)
        return float(median(launch["warm_ms"]))

    def warm_up(self) -> None:
        """Both have been loaded from the disk by then; what they gave is not counted."""
        self.by_runner()
        run_tool(self.subject, self.counts)


def compare(options: Options, pairs: int, **axes: Any) -> list[Compared]:
    """Measure the cells of a matrix both ways, in rounds over all of them."""
    with open_lab("own_tools") as lab:
        plain = lab.protocol("quick", options, LATENCY_ONLY)
        fixed = {"samples": _fixed(plain.measures["latency"]["samples"])}
        gates = {} if options.quick else {"gates": PATIENT}
        protocol = lab.protocol("quick", options, LATENCY_ONLY, fixed, **gates)
        with open_direct(lab, protocol, **axes) as subjects:
            found = [Compared(subject) for subject in subjects]
            for one in found:
                one.warm_up()
            for number in range(pairs):
                for one in found:
                    one.run(ours_first=number % 2 == 0)
                ratios = ", ".join(f"{one.name} {one.ratios[-1]:.3f}" for one in found)
                print(f"  pair {number + 1} of {pairs}, runner / tool: {ratios}", flush=True)
    return found


def library_figure(what: str, found: list[Compared], target: float | None) -> Figure:
    """The difference over several cells, in percent."""
    ratios = [one.ratios for one in found]
    chance = [
        [a / b for a, b in zip(one.theirs[::2], one.theirs[1::2], strict=False)] for one in found
    ]
    return Figure(
        what=f"{what}: runner less tool",
        value=percent(geometric_mean(ratios)),
        unit="%",
        target=target,
        baselines=[
            Baseline("the tool less itself (even, odd runs)", percent(geometric_mean(chance)), "%")
        ]
        if all(chance)
        else [],
        details={
            "95 % interval": percent_interval(geometric_interval(ratios)),
            "pairs that no gate complained of": _undisturbed(found),
            "tool": ", ".join(sorted({tool_name(one.library) for one in found})),
            **{one.name: _described(one) for one in found},
        },
    )


def _undisturbed(found: list[Compared]) -> str:
    """The difference over the pairs behind gates that held."""
    kept = [
        [ratio for ratio, quiet in zip(one.ratios, one.undisturbed, strict=True) if quiet]
        for one in found
    ]
    count = f"{sum(map(len, kept))} of {sum(len(one.ratios) for one in found)}"
    if not all(kept):
        return count
    bounds = percent_interval(geometric_interval(kept))
    return f"{count}: {percent(geometric_mean(kept)):+.2f} % ({bounds})"


def _described(one: Compared) -> str:
    return (
        f"{percent(geometric_mean([one.ratios])):+.2f} % "
        f"({percent_interval(geometric_interval([one.ratios]))}); medians: runner "
        f"{shown(median(one.ours))} ms, tool {shown(median(one.theirs))} ms; {len(one.ours)} pairs, "
        f"about {one.counts.samples} samples a process"
    )


def _fixed(samples: dict[str, Any]) -> dict[str, Any]:
    """The same number of inferences for every process, whatever its speed."""
    count = max(int(samples["min"]), min(int(samples["max"]), 60))
    return {"min": count, "max": count, "seconds": 0}
