"""Whether the iterations of one launch are steady, and from where on.

After Barrett, Bolz-Tereick, Killick, Mount & Tratt, "Virtual machine warmup blows hot and cold",
OOPSLA 2017: changepoints cut the series into segments, segments at about the same level are taken
for equal, and the levels give the class. A launch here has tens to hundreds of iterations, not 2000;
comments say where the method differs for that reason.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .changepoints import changepoints

Kind = Literal["flat", "warm-up", "slowdown", "no steady state"]

#: Fewest iterations of a segment. Shorter departures are outliers, not episodes.
SHORTEST_SEGMENT = 5
#: Levels closer than this share of the median are the same, however quiet the series is.
TOLERANCE = 0.02
#: The share of the series that must be steady at its end: 500 of 2000 in the paper.
STEADY_SHARE = 0.25
#: Changepoints cost PENALTY log n times the noise's variance, as in the paper.
PENALTY = 15.0
#: A noise below this share of the median is not believed: timers have steps.
LEAST_NOISE = 0.005
#: Of longer series, medians of blocks are searched.
MOST_POINTS = 2000
#: Iterations on each side of one in the search for outliers.
NEIGHBOURS = 25
#: Tukey's far fences: this many interquartile ranges beyond the quartiles.
FENCES = 3.0
#: The interquartile range of normal noise with standard deviation 1.
_NORMAL_IQR = 1.349


@dataclass(frozen=True)
class Segment:
    """Iterations `start` to `stop` (excluded) at one level; `median_ms` is in the samples' unit."""

    start: int
    stop: int
    median_ms: float


@dataclass(frozen=True)
class Steady:
    """The class of a launch's iterations.

    `kind` is None for a series too short to tell. `warm_from` is the first iteration to use.
    `segments` cover the whole series, without gaps.
    """

    kind: Kind | None
    warm_from: int
    segments: tuple[Segment, ...]


def classify(samples_ms: Sequence[float]) -> Steady:
    """Class of the iterations after the first inference of one launch, in the order they ran.

    - ``flat``: one level all along. `warm_from` is 0.
    - ``warm-up``: the levels fall to the last one, which is kept for at least a quarter of the
      series; or two iterations or more at the very start are outliers. `warm_from` is where the
      last level starts, or later: its beginning is searched for the tail of the warm-up.
    - ``slowdown``: the levels rise to the last one (after a clear warm-up, see below), which is
      kept for at least a quarter of the series.
    - ``no steady state``: otherwise: the last level is too short, or levels rise and fall, as when
      a neighbour takes the processor for a while. The paper looks at the last level alone and so
      calls some of these warm-ups or slowdowns; in a launch of half a second they are episodes.

    In the last two classes only a clear warm-up is dropped: leading segments of falling levels,
    together less than half of the series, that are slower than most of it. `warm_from` is where
    they end, or 0.

    Outliers stay as they are. For the search alone, departures of fewer than SHORTEST_SEGMENT
    iterations beyond the far fences of their neighbourhood are moved to its median. The search is
    scaled by the noise from one iteration to the next, so a unit does not matter. Levels are equal
    when they differ by less than TOLERANCE or the noise around the levels.

    Args:
        samples_ms: durations; any number, best 20 or more.

    Raises:
        ValueError: no samples.
    """
    values = np.asarray(samples_ms, dtype=float)
    if len(values) == 0:
        raise ValueError("there must be at least one sample")
    median = float(np.median(values))
    if len(values) < 2 * SHORTEST_SEGMENT or median <= 0:
        return Steady(None, 0, (Segment(0, len(values), median),))
    relative = values / median
    segments = _segments(relative)
    tolerance = _tolerance(relative, segments)
    kind, first = _judge(segments, len(values), tolerance)
    warm_from = segments[first].start
    if warm_from == 0:
        # Two to four slow iterations at the start are too few for a segment of their own.
        leading = _leading_slow(relative)
        if leading >= 2:
            warm_from = leading
            kind = "warm-up" if kind == "flat" else kind
    if kind == "warm-up":
        warm_from += _transient(relative[warm_from:])
    return Steady(
        kind,
        warm_from,
        tuple(replace(segment, median_ms=segment.median_ms * median) for segment in segments),
    )


def outliers(samples_ms: Sequence[float], warm_from: int = 0) -> list[bool]:
    """Which samples lie beyond Tukey's far fences of the launch's steady part.

    Tukey, "Exploratory Data Analysis", 1977: more than 3 interquartile ranges outside of the
    quartiles of the samples from `warm_from` on. A label only: an outlier counts in every
    statistic. The interquartile range counts as at least LEAST_NOISE of the median. Samples
    before `warm_from` are labelled against the same fences.

    Returns:
        One bool per sample.

    Raises:
        ValueError: no sample from `warm_from` on.
    """
    values = np.asarray(samples_ms, dtype=float)
    if not 0 <= warm_from < len(values):
        raise ValueError("there must be at least one sample in the steady part")
    low, high = _fences(values[warm_from:])
    return list(((values < low) | (values > high)).tolist())


def _segments(relative: np.ndarray) -> list[Segment]:
    """Segments of one level; a long series is searched in blocks."""
    block = math.ceil(len(relative) / MOST_POINTS)
    points = relative
    if block > 1:
        whole = len(relative) // block * block
        points = np.median(relative[:whole].reshape(-1, block), axis=1)
    points = _without_spikes(points)
    scaled = points / _noise(points)
    ends = changepoints(scaled, PENALTY * math.log(len(points)), SHORTEST_SEGMENT)
    stops = [end * block for end in ends]
    stops[-1] = len(relative)  # the last block takes the remainder
    return [
        Segment(start, stop, float(np.median(relative[start:stop])))
        for start, stop in itertools.pairwise([0, *stops])
    ]


def _judge(segments: list[Segment], count: int, tolerance: float) -> tuple[Kind, int]:
    """The class, and the index of the first segment to be used."""
    levels = [segment.median_ms for segment in segments]
    last = levels[-1]
    equal = [abs(level - last) <= tolerance for level in levels]
    if all(equal):
        return "flat", 0
    steady = len(levels) - equal[::-1].index(False)  # first segment of the last level
    warmed_up = _after_warm_up(segments, count, tolerance)
    kept = count - segments[steady].start >= STEADY_SHARE * count
    if not kept or any(equal[:steady]):
        return "no steady state", warmed_up
    if min(levels[:steady]) > last and _falling(levels, tolerance):
        return "warm-up", steady
    if _falling(levels[warmed_up:][::-1], tolerance):
        return "slowdown", warmed_up
    return "no steady state", warmed_up


def _falling(levels: list[float], tolerance: float) -> bool:
    return all(later <= earlier + tolerance for earlier, later in itertools.pairwise(levels))


def _after_warm_up(segments: list[Segment], count: int, tolerance: float) -> int:
    """The index of the segment after a clear warm-up, see `classify`."""
    index, previous = 0, math.inf
    # The samples are relative to their median, so most of the series is at about 1.
    while segments[index].median_ms > 1 + tolerance and segments[index].median_ms < previous:
        previous = segments[index].median_ms
        index += 1
        if index == len(segments) or segments[index].start > count / 2:
            return 0
    return index


def _tolerance(relative: np.ndarray, segments: list[Segment]) -> float:
    """How far levels may be apart and still be the same: the noise around them, or TOLERANCE."""
    levels = np.repeat(
        [segment.median_ms for segment in segments],
        [segment.stop - segment.start for segment in segments],
    )
    low, high = np.quantile(relative - levels, [0.25, 0.75])
    return max(TOLERANCE, float(high - low) / _NORMAL_IQR)


def _noise(points: np.ndarray) -> float:
    """Standard deviation from one point to the next: a step in the level hardly changes it."""
    low, high = np.quantile(np.diff(points), [0.25, 0.75])
    return max(LEAST_NOISE, float(high - low) / _NORMAL_IQR / math.sqrt(2))


def _without_spikes(points: np.ndarray) -> np.ndarray:
    """Short departures moved to the median of their neighbourhood.

    The paper uses the 200 iterations before and leaves the first 200 alone. Here the window is
    centred, and what lasts for SHORTEST_SEGMENT iterations or more stays: it is an episode.
    """
    width = min(2 * NEIGHBOURS + 1, len(points))
    windows = np.lib.stride_tricks.sliding_window_view(points, width)
    # At both ends the window stays inside the series.
    nearest = np.clip(np.arange(len(points)) - width // 2, 0, len(windows) - 1)
    ordered = np.sort(windows, axis=1)
    low, middle, high = (ordered[:, round(share * (width - 1))] for share in (0.25, 0.5, 0.75))
    reach = FENCES * np.maximum(high - low, LEAST_NOISE)
    outside = (points < (low - reach)[nearest]) | (points > (high + reach)[nearest])
    cleaned = points.copy()
    for start, stop in _runs(outside):
        if stop - start < SHORTEST_SEGMENT:
            cleaned[start:stop] = middle[nearest][start:stop]
    return cleaned


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each run of true labels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _leading_slow(relative: np.ndarray) -> int:
    """How many iterations at the start in a row are beyond the upper far fence."""
    _, high = _fences(relative)
    slow = relative > high
    return 0 if slow.all() else int(np.argmin(slow))


def _transient(relative: np.ndarray) -> int:
    """How many iterations at the start of the last level still belong to the warm-up.

    Warm-ups fade, so a step leaves their tail behind. MSER (White, "An effective truncation
    heuristic for bias reduction in simulation output", Simulation 69(6), 1997): the cut, in the
    first half, after which the mean has the smallest standard error; it weighs what a tail adds to
    the variance against the loss of samples. Outliers count as much as the far fences.
    """
    low, high = _fences(relative)
    backwards = np.clip(relative, low, high)[::-1]
    kept = np.arange(1, len(backwards) + 1)
    variances = np.cumsum(backwards**2) / kept - (np.cumsum(backwards) / kept) ** 2
    errors = (variances / kept)[::-1]
    return int(np.argmin(errors[: len(errors) // 2 + 1]))


def _fences(values: np.ndarray) -> tuple[float, float]:
    low, middle, high = _quartiles(values)
    reach = FENCES * max(high - low, LEAST_NOISE * abs(middle))
    return low - reach, high + reach


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """As np.quantile, which would take longer on a launch's few samples than the rest of loading it."""
    ordered = np.sort(values)

    def at(share: float) -> float:
        below, part = divmod(share * (len(ordered) - 1), 1)
        low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
        return float(low + part * (high - low))

    return at(0.25), at(0.5), at(0.75)
