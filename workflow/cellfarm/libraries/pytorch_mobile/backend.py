"""PyTorch Mobile on the CPU: the lite interpreter, with XNNPACK for what was packed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: The kernels of quantised operators that mobile builds have; signed ones are computed by XNNPACK.
_ENGINE = "qnnpack"


def import_library() -> str:
    """Import PyTorch; return the version that it reports (Debian's 1.13.1 says 1.13.0a0)."""
    import torch.jit.mobile

    return str(torch.__version__)


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder.
        processor: ``cpu``.
        threads: threads of PyTorch's OpenMP and of XNNPACK's pool.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, a model that does not load, or a PyTorch without XNNPACK.
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
        import torch
        from torch.jit.mobile import _export_operator_list, _load_for_lite_interpreter

        if processor != "cpu":
            raise RuntimeError(f"pytorch_mobile: no processor {processor!r}")
        if not torch._C._is_xnnpack_enabled():
            raise RuntimeError("pytorch_mobile: this PyTorch was built without XNNPACK")
        torch.set_num_threads(threads)
        # Weights are packed for the engine as they are loaded.
        torch.backends.quantized.engine = _ENGINE
        self._torch = torch
        self._module = _load_for_lite_interpreter(str(Path(artifact) / "model.ptl"))
        self._provider = _provider(_export_operator_list(self._module))
        self._outputs = outputs
        self._tensors: list[Any] = []
        self._results: Any = None

    def set_inputs(self, arrays: list[Any]) -> None:
        """Keep copies of the inputs as tensors, images with their channels last.

        XNNPACK computes in this layout, and PyTorch's mobile guide recommends it; with another layout each
        convolution copies its input and its output.
        """
        tensors = [self._torch.from_numpy(array.copy()) for array in arrays]
        last = self._torch.channels_last
        self._tensors = [
            tensor.contiguous(memory_format=last) if tensor.dim() == 4 else tensor
            for tensor in tensors
        ]

    def invoke(self) -> None:
        """Run the model once; the results stay in PyTorch's memory."""
        # As the Android and iOS bindings do.
        with self._torch.inference_mode():
            self._results = self._module(*self._tensors)

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        results = self._results
        tensors = [results] if isinstance(results, self._torch.Tensor) else list(results)
        return [
            tensor.contiguous().numpy().copy().reshape(spec["shape"])
            for tensor, spec in zip(tensors, self._outputs, strict=True)
        ]

    def actual(self) -> dict[str, Any]:
        """PyTorch's number of threads, and the kernels that the artifact uses."""
        return {"threads": self._torch.get_num_threads(), "provider": self._provider}


def _provider(operators: set[str]) -> str:
    """`xnnpack` if anything was packed for it, `qnnpack` if quantised, else PyTorch's own, `aten`."""
    providers = [
        name
        for name, prefix in (("xnnpack", "prepacked::"), (_ENGINE, "quantized::"))
        if any(operator.startswith(prefix) for operator in operators)
    ]
    return "+".join(providers) or "aten"
