"""ONNX Runtime on the GPU, through WebGPU; a model that needs the CPU is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import refusal  # type: ignore[import-not-found]
import vulkan  # type: ignore[import-not-found]

PROVIDER = "WebGpuExecutionProvider"
# Some drivers crash when the last session ends, so sessions live as long as the process.
_sessions: list[Any] = []
_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}


def import_library() -> str:
    """Import ONNX Runtime; return its version."""
    import onnxruntime

    return str(onnxruntime.__version__)


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder.
        processor: ``gpu``.
        threads: threads for the CPU's share of the work.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor.
        Unsupported: no GPU, or an operator that the GPU has no kernel for.
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
        import onnxruntime

        if processor != "gpu":
            raise RuntimeError(f"onnxruntime_webgpu: no processor {processor!r}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Else operators that the GPU lacks run on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._start(artifact, options, inputs, outputs)

    def _start(
        self,
        artifact: str,
        options: Any,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        import onnxruntime

        try:
            # enable_fallback=0: else the Python interface runs the whole model on the CPU.
            self._session = onnxruntime.InferenceSession(
                str(Path(artifact) / "model.onnx"),
                options,
                providers=[PROVIDER],
                enable_fallback=0,
            )
        except Exception as error:
            # An assertion's text begins with its place in the library's source.
            raise refusal.Unsupported(
                f"onnxruntime_webgpu: {str(error).rpartition(' was false. ')[2].strip()}"
            ) from error
        _sessions.append(self._session)
        if self._session.get_providers()[0] != PROVIDER:
            raise refusal.Unsupported(
                "onnxruntime_webgpu: WebGPU refused the model: it ran on the CPU"
            )
        self._types = {node.name: _DTYPES.get(node.type) for node in self._session.get_inputs()}
        self._inputs = inputs
        self._binding = self._session.io_binding()
        for spec in outputs:
            self._binding.bind_output(spec["name"], "cpu")
        self._bound: list[Any] = []  # the memory that the binding refers to

    def set_inputs(self, arrays: list[Any]) -> None:
        """Bind the inputs; they stay bound for every ``invoke``."""
        import numpy as np
        import onnxruntime

        self._binding.clear_binding_inputs()
        self._bound = []
        for spec, array in zip(self._inputs, arrays, strict=True):
            array = np.ascontiguousarray(array, dtype=self._types[spec["name"]])
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            self._bound.append((array, value))
            self._binding.bind_ortvalue_input(spec["name"], value)

    def invoke(self) -> None:
        """Run the model once, with the copies to the GPU and back, which end the inference."""
        self._session.run_with_iobinding(self._binding)

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order."""
        return [value.copy() for value in self._binding.copy_outputs_to_cpu()]

    def actual(self) -> dict[str, Any]:
        """The settings as the session reports them, and the device as Vulkan reports it."""
        return {
            "threads": self._session.get_session_options().intra_op_num_threads,
            "provider": self._session.get_providers()[0],
            **vulkan.used_device(),
        }
