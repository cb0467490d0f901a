"""The phases of a launch, each timed with the monotonic clock."""

import time
from collections.abc import Callable
from typing import Any

import system  # type: ignore[import-not-found]


def launch(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Import, load, first inference, warm-up, warm samples; every sample is reported.

    Request: artifact (folder), inputs (.npz), outputs (.npz to write), processor, threads, model
    ({"inputs", "outputs"}), warmup ({"min", "seconds"}), samples ({"min", "max", "seconds"}).
    """
    import backend  # type: ignore[import-not-found]

    emit("phase", name="import")
    began = time.monotonic_ns()
    version = backend.import_library()
    emit("done", name="import", ms=_since_ms(began), library_version=version)

    model = request["model"]
    emit("phase", name="load")
    began = time.monotonic_ns()
    session = backend.Session(
        request["artifact"],
        processor=request["processor"],
        threads=request["threads"],
        inputs=model["inputs"],
        outputs=model["outputs"],
    )
    emit("done", name="load", ms=_since_ms(began), rss_mb=system.rss_mb(), actual=session.actual())

    session.set_inputs(_read_inputs(request["inputs"], model["inputs"]))
    emit("phase", name="first")
    began = time.monotonic_ns()
    session.invoke()
    emit("done", name="first", ms=_since_ms(began))
    _write_outputs(request["outputs"], model["outputs"], session.get_outputs())
    emit("outputs")

    emit("phase", name="warmup")
    warmup = request["warmup"]
    emit(
        "samples",
        phase="warmup",
        ms=_samples(session.invoke, warmup["min"], None, warmup["seconds"]),
    )
    emit("phase", name="warm")
    samples = request["samples"]
    before = system.snapshot()
    warm = _samples(session.invoke, samples["min"], samples["max"], samples["seconds"])
    after = system.snapshot()
    emit("samples", phase="warm", ms=warm)
    emit("resources", peak_rss_mb=system.peak_rss_mb(), **system.difference(before, after))


def _samples(
    invoke: Callable[[], None], minimum: int, maximum: int | None, seconds: float
) -> list[float]:
    """Latencies in ms: until `minimum` samples and `seconds` are both reached, at most `maximum`."""
    clock = time.monotonic_ns
    taken: list[int] = []
    end = clock() + int(seconds * 1e9)
    while len(taken) < minimum or (clock() < end and (maximum is None or len(taken) < maximum)):
        began = clock()
        invoke()
        taken.append(clock() - began)
    return [ns / 1e6 for ns in taken]


def _read_inputs(path: str, inputs: list[dict[str, Any]]) -> list[Any]:
    import numpy

    with numpy.load(path, allow_pickle=False) as stored:
        return [stored[entry["name"]] for entry in inputs]


def _write_outputs(path: str, outputs: list[dict[str, Any]], arrays: list[Any]) -> None:
    import numpy

    if len(arrays) != len(outputs):
        raise RuntimeError(f"the library gave {len(arrays)} outputs, the model has {len(outputs)}")
    named = zip(outputs, arrays, strict=True)
    numpy.savez(path, **{entry["name"]: numpy.asarray(array) for entry, array in named})


def _since_ms(began_ns: int) -> float:
    return (time.monotonic_ns() - began_ns) / 1e6
