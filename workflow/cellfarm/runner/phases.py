"""The phases of a launch, each timed with the monotonic clock."""

import time
from collections.abc import Callable
from typing import Any

import affinity  # type: ignore[import-not-found]
import page_cache  # type: ignore[import-not-found]
import sensors  # type: ignore[import-not-found]
import system  # type: ignore[import-not-found]


def pin(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Put this process on the cores of the request, if it names any."""
    emit("pinned", cores=affinity.pin(request["cores"]) if request["cores"] else None)


def start(request: dict[str, Any], emit: Callable[..., None], cold: bool = False) -> None:
    """Before the library: pin, and bring the artifact into the page cache or evict it.

    Request: artifact (folder), cores (to run on, or None).
    """
    pin(request, emit)
    if cold:
        page_cache.evict(request["artifact"])
    else:
        page_cache.read_all(request["artifact"])  # idle systems reclaim pages that are not in use
    emit("page_cache", resident_share=page_cache.resident_share(request["artifact"]))


def end(emit: Callable[..., None]) -> None:
    """After the work: the state of the device."""
    emit("after", load_1min=system.load_average(), temperatures_c=sensors.temperatures(),
         governor=sensors.governor())  # fmt: skip


def import_library(emit: Callable[..., None]) -> Any:
    """The phase `import`; returns the back end."""
    import backend  # type: ignore[import-not-found]

    emit("phase", name="import")
    began = time.monotonic_ns()
    version = backend.import_library()
    emit("done", name="import", ms=since_ms(began), library_version=version)
    return backend


def load(request: dict[str, Any], emit: Callable[..., None]) -> Any:
    """The phases `import`, `read` and `load`; returns the session."""
    backend = import_library(emit)
    emit("phase", name="read")
    # Read apart from loading, to separate the storage's time from the library's: the library then
    # reads from the page cache.
    emit("done", name="read", ms=page_cache.read_all(request["artifact"])[0])

    emit("phase", name="load")
    model = request["model"]
    began = time.monotonic_ns()
    session = backend.Session(
        request["artifact"],
        processor=request["processor"],
        threads=request["threads"],
        inputs=model["inputs"],
        outputs=model["outputs"],
    )
    emit("done", name="load", ms=since_ms(began), actual=session.actual())
    return session


def first(request: dict[str, Any], session: Any, emit: Callable[..., None]) -> None:
    """The phase `first`, and the output of that inference."""
    memory = {"load_rss_mb": system.rss_mb(), "peak_load_rss_mb": system.peak_rss_mb()}
    session.set_inputs(read_inputs(request["inputs"], request["model"]["inputs"]))
    memory["peak_was_reset"] = float(system.reset_peak())
    emit("resources", **memory)
    emit("phase", name="first")
    began = time.monotonic_ns()
    session.invoke()
    emit("done", name="first", ms=since_ms(began))
    write_outputs(request["outputs"], request["model"]["outputs"], session.get_outputs())
    emit("outputs")


def read_inputs(path: str, inputs: list[dict[str, Any]]) -> list[Any]:
    """The arrays of the inputs, in the model's order."""
    import numpy

    with numpy.load(path, allow_pickle=False) as stored:
        return [stored[entry["name"]] for entry in inputs]


def since_ms(began_ns: int) -> float:
    """Milliseconds since a reading of the monotonic clock."""
    return (time.monotonic_ns() - began_ns) / 1e6


def write_outputs(path: str, outputs: list[dict[str, Any]], arrays: list[Any]) -> None:
    """Write the outputs' arrays by name.

    Raises:
        RuntimeError: the library gave another number of outputs than the model has.
    """
    import numpy

    if len(arrays) != len(outputs):
        raise RuntimeError(f"the library gave {len(arrays)} outputs, the model has {len(outputs)}")
    named = zip(outputs, arrays, strict=True)
    numpy.savez(path, **{entry["name"]: numpy.asarray(array) for entry, array in named})
