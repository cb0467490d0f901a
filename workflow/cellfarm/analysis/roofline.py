"""Operations against time: what a device reaches, and what bounds it. Pure.

The roofline model (Williams, Waterman & Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52(4), 2009). Its two bounds are measured, by a matrix
product of numpy's BLAS and by a copy (see cellfarm.experiments.peak): both are lower bounds of what the
hardware can do, so a library may lie above them. Operations are those of the model's definition: a
library that needs fewer (Winograd's convolutions) is credited with all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .ranking import Row, ranks

#: Least models for a correlation.
LEAST_MODELS = 4


@dataclass(frozen=True)
class Roof:
    """What a device reaches with some number of threads."""

    gflops: float  # 10^9 additions and multiplications in single precision per second
    gb_s: float  # 10^9 bytes read and written per second

    def attainable_gflops(self, intensity: float) -> float:
        """The upper bound at this many operations per byte."""
        return min(self.gflops, intensity * self.gb_s)


@dataclass(frozen=True)
class Size:
    """A model's size by its definition; None is not known."""

    parameters: int | None
    flops: int | None


@dataclass(frozen=True)
class Spot:
    """One cell. `intensity` is in operations per byte of its artifact, each byte read once: an upper bound,
    as activations move too; None where the artifact's size is not known.

    `share` is the reached share of the attainable; None without a roof or an intensity, or in other than
    single precision, which the roof does not bound. It may be above 1.
    """

    cell: Row
    size: Size
    gflops: float
    intensity: float | None
    share: float | None


@dataclass(frozen=True)
class Scaling:
    """How latency grows with size over the models of one library in one setting.

    `by_flops` and `by_parameters` are rank correlations (Spearman, American Journal of Psychology 15(1),
    1904): 1 says that more always takes longer; None for too few models. `gflops` is the median.
    """

    library: str
    setting: tuple[str, str, str, int]
    models: int
    by_flops: float | None
    by_parameters: float | None
    gflops: float
    best_share: float | None


def spots(
    cells: Iterable[Row],
    sizes: Mapping[str, Size],
    roofs: Mapping[tuple[str, int], Roof],
) -> list[Spot]:
    """Every cell of a CPU that ranks and whose model's operations are known.

    Args:
        cells: of the view `cells`, with `model_id`.
        sizes: by a model's id.
        roofs: by device and number of threads.
    """
    results = []
    for cell in cells:
        size = sizes.get(cell["model_id"])
        if ranks(cell) and cell["processor"] == "cpu" and size and size.flops:
            gflops = size.flops / cell["latency_ms"] / 1e6
            artifact_bytes = cell["artifact_bytes"]
            intensity = size.flops / artifact_bytes if artifact_bytes else None
            roof = roofs.get((cell["device"], cell["threads"]))
            share = None
            if roof and intensity and cell["variant"] == "fp32":
                share = gflops / roof.attainable_gflops(intensity)
            results.append(Spot(cell, size, gflops, intensity, share))
    return results


def scalings(all_spots: Iterable[Spot]) -> list[Scaling]:
    """A scaling for each library (at its version), device, variant, protocol and number of threads."""
    groups: dict[tuple[str, tuple[str, str, str, int]], list[Spot]] = defaultdict(list)
    for spot in all_spots:
        cell = spot.cell
        setting = (cell["device"], cell["variant"], cell["protocol"], cell["threads"])
        groups[f"{cell['library']} {cell['library_version']}", setting].append(spot)
    return [
        Scaling(
            library=library,
            setting=setting,
            models=len(group),
            by_flops=_correlation([(spot.size.flops, spot.cell["latency_ms"]) for spot in group]),
            by_parameters=_correlation(
                [(spot.size.parameters, spot.cell["latency_ms"]) for spot in group]
            ),
            gflops=median(spot.gflops for spot in group),
            best_share=max((spot.share for spot in group if spot.share is not None), default=None),
        )
        for (library, setting), group in sorted(groups.items())
    ]


def _correlation(pairs: Sequence[tuple[int | None, float]]) -> float | None:
    sizes = [size for size, _ in pairs if size is not None]
    times_ms = [ms for size, ms in pairs if size is not None]
    # A constant correlates with nothing.
    if len(sizes) < LEAST_MODELS or 1 in (len(set(sizes)), len(set(times_ms))):
        return None
    from scipy.stats import spearmanr  # takes a second: not for the start of every command

    return float(spearmanr(sizes, times_ms).statistic)
