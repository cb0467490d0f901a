"""LiteRT by the compiled-model interface, as in its own benchmark: XNNPACK or WebGPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gpu  # type: ignore[import-not-found]
import refusal  # type: ignore[import-not-found]


def import_library() -> str:
    """Import LiteRT; return the version of its package: the library reports none."""
    from importlib.metadata import version

    import ai_edge_litert.compiled_model  # noqa: F401

    return version("ai-edge-litert")


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder. The GPU computes ``*.fp16.tflite`` in half precision.
        processor: ``cpu`` or ``gpu``.
        threads: XNNPACK's threads.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, or a model of another signature.
        Unsupported: the GPU does not run the whole model as it is.
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
        if processor not in ("cpu", "gpu"):
            raise RuntimeError(f"litert: no processor {processor!r}")
        self._on_gpu = processor == "gpu"
        self._actual: dict[str, Any] = {"threads": None}  # LiteRT does not report its threads
        path = model_file(artifact)
        model = self._on_the_gpu(path) if self._on_gpu else self._on_the_cpu(path, threads)
        self._model = model
        self._outputs = outputs
        key = next(iter(model.get_signature_list()))
        self._input_details = model.get_input_tensor_details(key)
        self._output_details = model.get_output_tensor_details(key)
        self._input_names = in_order(list(self._input_details), inputs)
        self._output_names = in_order(list(self._output_details), outputs)
        self._key = key
        self._input_buffers = {
            name: model.create_input_buffer_by_name(key, name) for name in self._input_names
        }
        self._output_buffers = {
            name: model.create_output_buffer_by_name(key, name) for name in self._output_names
        }
        self._results: list[Any] = []

    def _on_the_cpu(self, path: Path, threads: int) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options

        self._actual["provider"] = "xnnpack"
        options = Options(
            hardware_accelerators=HardwareAccelerator.CPU,
            cpu_options=CpuOptions(num_threads=threads),
        )
        return CompiledModel.from_file(str(path), options=options)

    def _on_the_gpu(self, path: Path) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import GpuOptions, Options

        variant = path.suffixes[0].strip(".") if len(path.suffixes) > 1 else ""
        if variant.startswith("int8"):
            raise refusal.Unsupported("litert: the GPU accelerator widens 8-bit models to floats")
        # If the CPU is no accelerator, LiteRT refuses a model that the GPU does not run as a whole.
        options = Options(
            hardware_accelerators=HardwareAccelerator.GPU,
            gpu_options=GpuOptions(enforce_f32=variant != "fp16"),
        )
        model, log = gpu.capture_standard_error(
            lambda: CompiledModel.from_file(str(path), options=options)
        )
        if not model.is_fully_accelerated():
            raise refusal.Unsupported(
                "litert: the GPU does not take the whole model: it ran on the CPU"
            )
        self._actual |= {"provider": "webgpu", **gpu.adapter(log)}
        return model

    def set_inputs(self, arrays: list[Any]) -> None:
        """Write the inputs, cast to the file's types (it has int32 for int64 indices)."""
        import numpy as np

        for name, array in zip(self._input_names, arrays, strict=True):
            dtype = self._input_details[name]["dtype"]
            self._input_buffers[name].write(np.ascontiguousarray(array, dtype=np.dtype(dtype)))

    def invoke(self) -> None:
        """Run the model once."""
        self._model.run_by_name(self._key, self._input_buffers, self._output_buffers)
        if self._on_gpu:
            # The call returns at once; reading waits for the GPU.
            self._results = self._read()

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        return [array.copy() for array in self._results] if self._on_gpu else self._read()

    def _read(self) -> list[Any]:
        import numpy as np

        arrays = []
        for name, spec in zip(self._output_names, self._outputs, strict=True):
            dtype = np.dtype(self._output_details[name]["dtype"])
            count = int(np.prod(spec["shape"]))
            arrays.append(self._output_buffers[name].read(count, dtype).reshape(spec["shape"]))
        return arrays

    def actual(self) -> dict[str, Any]:
        """The provider, and the GPU's name."""
        return dict(self._actual)


def model_file(artifact: str) -> Path:
    """The ``.tflite`` file in an artifact's folder.

    Raises:
        RuntimeError: the folder has no such file, or several.
    """
    files = list(Path(artifact).glob("*.tflite"))
    if len(files) != 1:
        raise RuntimeError(f"litert: {len(files)} .tflite files in the artifact; expected 1")
    return files[0]


def in_order(names: list[str], specs: list[dict[str, Any]]) -> list[str]:
    """A signature's names in the model's order.

    A converted program's names are ``args_0``, ``args_1``, ...; other files have the model's names.

    Raises:
        RuntimeError: there is another number of names, or they have no order.
    """
    if len(names) != len(specs):
        raise RuntimeError(f"litert: {len(names)} tensors in the file, {len(specs)} in the model")
    model_names = [str(spec["name"]) for spec in specs]
    if set(names) == set(model_names):
        return model_names
    numbers = {name: re.search(r"\d+$", name) for name in names}
    if len(names) > 1 and not all(numbers.values()):
        raise RuntimeError(f"litert: no order in {', '.join(names)}")
    return sorted(names, key=lambda name: int(match[0]) if (match := numbers[name]) else 0)
