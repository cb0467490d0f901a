"""ExecuTorch on the CPU: XNNPACK for what was delegated, its own kernels for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_METHOD = "forward"


def import_library() -> str:
    """Import ExecuTorch's runtime, and torch with it; return the version of its package."""
    from importlib.metadata import version

    import executorch.extension.pybindings.portable_lib  # noqa: F401

    return version("executorch")


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder.
        processor: ``cpu``.
        threads: the size of ExecuTorch's thread pool.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, or a program that does not load.
    """

    def __init__(
        self,
        artifact: str,
        *,
        processor: str,
        threads: int,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        from executorch.extension.pybindings import portable_lib

        if processor != "cpu":
            raise RuntimeError(f"executorch: no processor {processor!r}")
        self._library = portable_lib
        # XNNPACK's delegate takes the pool as it is when the program loads.
        portable_lib._unsafe_reset_threadpool(threads)
        self._program = portable_lib._load_program(str(Path(artifact) / "model.pte"))
        # This prepares the delegates' weights, which is part of loading, not of the first run.
        self._method = self._program.load_method(_METHOD)
        self._outputs = outputs
        self._tensors: list[Any] = []
        self._results: list[Any] = []

    def set_inputs(self, arrays: list[Any]) -> None:
        """Keep copies of the inputs as tensors."""
        import torch

        self._tensors = [torch.from_numpy(array.copy()) for array in arrays]

    def invoke(self) -> None:
        """Run the model once; the results stay in ExecuTorch's memory."""
        self._results = self._method.call(self._tensors, clone_outputs=False)

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        return [
            result.numpy().copy().reshape(spec["shape"])
            for result, spec in zip(self._results, self._outputs, strict=True)
        ]

    def actual(self) -> dict[str, Any]:
        """The settings as the runtime reports them."""
        threads = self._library._threadpool_get_thread_count()
        return {"threads": threads, "provider": "xnnpack"}
