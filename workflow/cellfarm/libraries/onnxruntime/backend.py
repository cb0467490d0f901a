"""ONNX Runtime on the CPU; inputs and outputs are bound once, as in its own benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PROVIDER = "CPUExecutionProvider"
_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}


def import_library() -> str:
    """Import ONNX Runtime; return its version."""
    import onnxruntime

    return str(onnxruntime.__version__)


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder.
        processor: ``cpu``.
        threads: threads inside an operator; operators run one after the other.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, or the library fell back to another provider.
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

        if processor != "cpu":
            raise RuntimeError(f"onnxruntime: no processor {processor!r}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._session = onnxruntime.InferenceSession(
            str(Path(artifact) / "model.onnx"), options, providers=[_PROVIDER]
        )
        # The library falls back to the CPU without an error; here that would be a false result.
        if self._session.get_providers()[0] != _PROVIDER:
            raise RuntimeError(f"onnxruntime: {_PROVIDER} refused the model")
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
        """Run the model once."""
        self._session.run_with_iobinding(self._binding)

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order."""
        return [value.copy() for value in self._binding.copy_outputs_to_cpu()]

    def actual(self) -> dict[str, Any]:
        """The settings as the session reports them."""
        return {
            "threads": self._session.get_session_options().intra_op_num_threads,
            "provider": self._session.get_providers()[0],
        }
