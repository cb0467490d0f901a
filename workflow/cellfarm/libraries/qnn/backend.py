"""Qualcomm's HTP through ONNX Runtime's plugin. On x86-64 it is a simulator, whose times mean nothing."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}
_SIMULATED_ON = ("x86_64", "AMD64")


def import_library() -> str:
    """Import ONNX Runtime and the plugin; return the plugin's version."""
    import onnxruntime  # noqa: F401
    import onnxruntime_qnn

    return str(onnxruntime_qnn.__version__)


class Session:
    """One context binary on the HTP.

    Args:
        artifact: the artifact's folder.
        processor: ``npu``.
        threads: ignored on the HTP.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.
        options: further options of the provider, for the profiler.

    Raises:
        RuntimeError: an unknown processor, or another provider got a part of the graph.
    """

    def __init__(
        self,
        artifact: str,
        *,
        processor: str,
        threads: int,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        options: dict[str, str] | None = None,
    ) -> None:
        import onnxruntime
        import onnxruntime_qnn as qnn

        if processor != "npu":
            raise RuntimeError(f"qnn: no processor {processor!r}")
        self.provider = qnn.get_ep_name()
        if not any(device.ep_name == self.provider for device in onnxruntime.get_ep_devices()):
            onnxruntime.register_execution_provider_library(self.provider, qnn.get_library_path())
        devices = [
            device for device in onnxruntime.get_ep_devices() if device.ep_name == self.provider
        ]
        npu = onnxruntime.OrtHardwareDeviceType.NPU
        # On x86-64 the provider's device is the CPU, which simulates the HTP.
        devices.sort(key=lambda device: device.device.type != npu)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings.add_provider_for_devices(
            devices[:1],
            {"backend_path": qnn.get_qnn_htp_path(), "htp_performance_mode": "burst"}
            | (options or {}),
        )
        # Without `enable_fallback=0` a provider that fails is replaced by the CPU.
        self._session = onnxruntime.InferenceSession(
            str(Path(artifact) / "context.onnx"), settings, enable_fallback=0
        )
        ran_on = {part.ep_name for part in self._session.get_provider_graph_assignment_info()}
        if ran_on != {self.provider}:
            raise RuntimeError(f"qnn: the graph ran on {', '.join(sorted(ran_on)) or 'nothing'}")
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

    def close(self) -> None:
        """End the session; the provider writes its profile then."""
        del self._binding, self._session

    def actual(self) -> dict[str, Any]:
        """Where every node ran; `emulated` on machines without an HTP."""
        actual: dict[str, Any] = {"threads": None, "provider": self.provider}
        if platform.machine() in _SIMULATED_ON:
            actual |= {"emulated": True, "device": "HTP simulator"}
        return actual
