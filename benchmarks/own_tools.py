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
    comparisons = compare(options, pairs, models=models, libraries=LIBRARIES, threads=THREADS)
    keep_raw("own_tools", options, [comparison.as_dict() for comparison in comparisons])
    return [
        library_figure(
            library,
            [comparison for comparison in comparisons if comparison.library == library],
            TARGET_PERCENT,
        )
        for library in LIBRARIES
    ]


class Compared:
    """The pairs of one cell: medians in ms."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.library = subject.planned.cell.library
        self.name = subject.name
        self.runner_ms: list[float] = []
        self.tool_ms: list[float] = []
        self.undisturbed: list[bool] = []
        self.counts = Iterations(0, 0)

    @property
    def ratios(self) -> list[float]:
        return [runner / tool for runner, tool in zip(self.runner_ms, self.tool_ms, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        return {"cell": self.name, "tool": tool_name(self.library), "runner_ms": self.runner_ms,
                "tool_ms": self.tool_ms, "undisturbed": self.undisturbed, "warmup": self.counts.warmup,
                "samples": self.counts.samples}  # fmt: skip

    def run(self, runner_first: bool) -> None:
        """Measure one pair; it is undisturbed if both gates found the machine quiet and fast."""
        gates = []
        for by_runner in (runner_first, not runner_first):
            gates.append(self.subject.gate())
            if by_runner:
                self.runner_ms.append(self.by_runner())
            else:
                self.tool_ms.append(run_tool(self.subject, self.counts))
        self.undisturbed.append(all(gates))

    def by_runner(self) -> float:
        launch = self.subject.launch()
        self.counts = Iterations.of(launch)
        return float(median(launch["warm_ms"]))

    def warm_up(self) -> None:
        """Load both from the disk once; the results do not count."""
        self.by_runner()
        run_tool(self.subject, self.counts)


def compare(options: Options, pairs: int, **axes: Any) -> list[Compared]:
    """Measure the cells of a matrix by the runner and by the tool, in rounds over all cells."""
    with open_lab("own_tools") as lab:
        plain = lab.protocol("quick", options, LATENCY_ONLY)
        fixed = {"samples": _fixed(plain.measures["latency"]["samples"])}
        gates = {} if options.quick else {"gates": PATIENT}
        protocol = lab.protocol("quick", options, LATENCY_ONLY, fixed, **gates)
        with open_direct(lab, protocol, **axes) as subjects:
            comparisons = [Compared(subject) for subject in subjects]
            for comparison in comparisons:
                comparison.warm_up()
            for number in range(pairs):
                for comparison in comparisons:
                    comparison.run(runner_first=number % 2 == 0)
                ratios = ", ".join(
                    f"{comparison.name} {comparison.ratios[-1]:.3f}" for comparison in comparisons
                )
                print(f"  pair {number + 1} of {pairs}, runner / tool: {ratios}", flush=True)
    return comparisons


def library_figure(title: str, comparisons: list[Compared], target: float | None) -> Figure:
    """The difference over several cells, in percent."""
    ratios = [comparison.ratios for comparison in comparisons]
    chance = [
        [
            even / odd
            for even, odd in zip(comparison.tool_ms[::2], comparison.tool_ms[1::2], strict=False)
        ]
        for comparison in comparisons
    ]
    return Figure(
        what=f"{title}: runner less tool",
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
            "pairs that no gate complained of": _undisturbed(comparisons),
            "tool": ", ".join(
                sorted({tool_name(comparison.library) for comparison in comparisons})
            ),
            **{comparison.name: _described(comparison) for comparison in comparisons},
        },
    )


def _undisturbed(comparisons: list[Compared]) -> str:
    """The difference over the undisturbed pairs."""
    ratios = [
        [
            ratio
            for ratio, quiet in zip(comparison.ratios, comparison.undisturbed, strict=True)
            if quiet
        ]
        for comparison in comparisons
    ]
    count = (
        f"{sum(map(len, ratios))} of {sum(len(comparison.ratios) for comparison in comparisons)}"
    )
    if not all(ratios):
        return count
    bounds = percent_interval(geometric_interval(ratios))
    return f"{count}: {percent(geometric_mean(ratios)):+.2f} % ({bounds})"


def _described(comparison: Compared) -> str:
    return (
        f"{percent(geometric_mean([comparison.ratios])):+.2f} % "
        f"({percent_interval(geometric_interval([comparison.ratios]))}); medians: runner "
        f"{shown(median(comparison.runner_ms))} ms, tool {shown(median(comparison.tool_ms))} ms; "
        f"{len(comparison.runner_ms)} pairs, about {comparison.counts.samples} samples a process"
    )


def _fixed(samples: dict[str, Any]) -> dict[str, Any]:
    """The same number of inferences for every process, whatever its speed."""
    count = max(int(samples["min"]), min(int(samples["max"]), 60))
    return {"min": count, "max": count, "seconds": 0}
