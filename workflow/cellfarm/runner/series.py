"""A series of inferences, back to back or at an interval, and the resources that it used."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import phases  # type: ignore[import-not-found]
import sampler  # type: ignore[import-not-found]
import system  # type: ignore[import-not-found]

#: Parts of a series whose medians are compared.
BLOCKS = 8


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Start, load, infer once, then a series of inferences.

    Request: what `phases.start`, `phases.load` and `phases.first` take; pattern and samples (see `series`),
    target_half_width, interval_ms (of the sampler; None: no sampling), idle_w (power of the idle
    device, or None).
    """
    phases.start(request, emit)
    watching = None
    if request["interval_ms"]:
        # Forked before the library is imported: cheap, and no threads to lose.
        watching = sampler.Sampler(request["interval_ms"] / 1e3, request["cores"])
    session = phases.load(request, emit)
    phases.first(request, session, emit)
    if session.actual().get("emulated"):
        # The time of a software processor says nothing about the real one.
        if watching:
            watching.stop()
        emit("emulated")
    else:
        _measure(request, session, watching, emit)
    phases.end(emit)


def _measure(
    request: dict[str, Any], session: Any, watching: Any, emit: Callable[..., None]
) -> None:
    emit("phase", name="series")
    before = system.snapshot()
    began_s = time.monotonic()
    ms = series(
        session.invoke, request["pattern"], request["samples"], request["target_half_width"]
    )
    ended_s = time.monotonic()
    after = system.snapshot()
    emit("samples", ms=ms, seconds=ended_s - began_s)
    resources = system.difference(before, after) | {"peak_inference_rss_mb": system.peak_rss_mb()}
    if watching:
        conditions = watching.stop()
        energy_mj = sampler.energy_mj(conditions, began_s, ended_s, request["idle_w"])
        resources |= {
            "sampler_cpu_share": conditions["cpu_share"],
            "energy_mj": None if energy_mj is None else energy_mj / len(ms),
        }
        origin_s = request["started_ns"] / 1e9
        emit("conditions", t_s=[t - origin_s for t in conditions["t_s"]],
             metrics=conditions["metrics"], interval_s=conditions["interval_s"],
             power_meter=conditions["power_meter"])  # fmt: skip
        resources |= {"series_began_s": began_s - origin_s, "series_ended_s": ended_s - origin_s}
    emit("resources", **resources)


def series(
    invoke: Callable[[], None],
    pattern: dict[str, Any],
    samples: dict[str, Any],
    tolerance: float = 0.0,
) -> list[float]:
    """Latencies in ms, in order, from the second inference of the process on.

    Until `samples["min"]` are taken and `samples["seconds"]` have passed, at most `samples["max"]`.
    With `samples["longest_s"]`, a series that is not settled (see `settled`) goes on until it is, or
    for so long: otherwise slow episodes of a shared processor, as long as a series, would make the
    launches differ.

    The pattern `spaced` begins an inference every `interval_ms`, as an app does, and idles between;
    the other patterns run back to back.
    """
    interval_ns = int(pattern["interval_ms"] * 1e6) if pattern["kind"] == "spaced" else 0
    minimum, maximum = samples["min"], samples["max"]
    clock = time.monotonic_ns
    taken: list[int] = []
    due = clock()
    start = due
    end = due + int(samples["seconds"] * 1e9)
    last = due + int(samples.get("longest_s", samples["seconds"]) * 1e9)
    while len(taken) < maximum:
        if len(taken) >= minimum and clock() >= end:
            if end >= last or settled(taken, tolerance):
                break
            # Checked again after half as much time again: a check takes well below 1 ms.
            end = min(last, end + max((end - start) // 2, 1_000_000))
            continue
        if interval_ns:
            due += interval_ns
            time.sleep(max(0, due - clock()) / 1e9)
        began = clock()
        invoke()
        taken.append(clock() - began)
    return [ns / 1e6 for ns in taken]


def settled(taken: Sequence[float], tolerance: float) -> bool:
    """Whether the blocks of a series have about the same median.

    Of the eight medians all but the highest and the lowest lie within `tolerance` of the middle, as a
    share of it. So one block may be a warm-up and one an interruption, but a slow episode of a
    quarter of the series counts.
    """
    size = len(taken) // BLOCKS
    if size == 0:
        return False
    medians = sorted(
        statistics.median(taken[block * size : (block + 1) * size]) for block in range(BLOCKS)
    )
    middle = statistics.median(medians)
    return middle - medians[1] <= tolerance * middle and medians[-2] - middle <= tolerance * middle
