"""Time per layer in ncnn: results are extracted layer by layer."""

from __future__ import annotations

import time
from typing import Any

import backend  # type: ignore[import-not-found]

_AS_IS = 1  # extract: keep the layout that the next layer reads
_PLAIN = 0  # extract: the layout that the caller of an inference gets


def profile(
    artifact: str,
    *,
    processor: str,
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Layers of `runs` inferences (see cellfarm.measures.operators.device).

    ncnn's packages have no profiler. An extractor computes only what a blob still needs, so extracting the
    result of each layer in turn times that layer. Two things make this equal to a plain inference: memory
    comes from pools, as between the layers of one extraction, and a result is freed before the next layer
    runs, which may then reuse or overwrite it.

    Raises:
        Unsupported: on the GPU, where each extraction would wait for it and copy the result back.
        RuntimeError: as `backend.Session`, or a layer fails.
    """
    import ncnn

    if processor != "cpu":
        from refusal import Unsupported  # type: ignore[import-not-found]

        raise Unsupported(f"ncnn has no times of its layers on the {processor}")
    session = backend.Session(artifact, processor=processor, **settings)
    session.set_inputs(arrays)
    layers = _executed(session)
    # Only the thread that extracts allocates blobs; all threads allocate workspace.
    blobs, workspace = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
    clock = time.monotonic_ns
    operators, total_ms = [], []
    for _ in range(runs):
        times = []
        run_start_ns = clock()
        extractor = session._net.create_extractor()
        extractor.set_blob_allocator(blobs)
        extractor.set_workspace_allocator(workspace)
        for blob, mat in zip(session._input_blobs, session._mats, strict=True):
            extractor.input(blob, mat)
        for name, kind, results in layers:
            start_ns = clock()
            for blob, layout in results:
                status, mat = extractor.extract(blob, layout)
                del mat
            times.append((name, kind, clock() - start_ns))
            if status != 0:
                raise RuntimeError(f"ncnn: the layer {name} failed with {status}")
        total_ms.append((clock() - run_start_ns) / 1e6)
        del extractor  # it holds memory of the pools
        operators.append(
            [{"name": name, "type": kind, "node": None, "ms": ns / 1e6} for name, kind, ns in times]
        )
    return {
        "runs": operators,
        "total_ms": total_ms,
        "method": "ncnn extraction layer by layer, pooled memory",
    }


def _executed(session: Any) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """The layers that an inference runs, in the file's order, which is an order of execution.

    Each has its name, its type, and the blobs that it computes, with the layout to extract them in. An
    inference does not run layers that no output needs. Input and Split compute nothing, so they are no
    operators.
    """
    layers, blobs = session._net.layers(), session._net.blobs()
    needed, open_blobs = set(), {blob.name for blob in blobs} & set(session._output_blobs)
    producers = {blob.name: blob.producer for blob in blobs}
    while open_blobs:
        producer = producers[open_blobs.pop()]
        if producer not in needed:
            needed.add(producer)
            open_blobs |= {blobs[bottom].name for bottom in layers[producer].bottoms}
    executed = []
    for position in sorted(needed):
        layer = layers[position]
        if layer.type not in ("Input", "Split"):
            names = [blobs[top].name for top in layer.tops]
            results = [
                (name, _PLAIN if name in session._output_blobs else _AS_IS) for name in names
            ]
            executed.append((layer.name, layer.type, results))
    return executed
