"""LiteRT on the CPU (XNNPACK), by the compiled-model interface that its own benchmark uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_SIGNATURE = 0


def import_library() -> str:
    """Import LiteRT; return the version of its package: the library reports none."""
    from importlib.metadata import version

    import ai_edge_litert.compiled_model  # noqa: F401

    return version("ai-edge-litert")


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder or the ``.tflite`` file.
        processor: ``cpu``.
        threads: XNNPACK's threads.
        inputs: ``name``, ``shape`` and ``dtype`` of each input.
        outputs: the same of each output.

    Raises:
        RuntimeError: an unknown processor, or a model of another signature.
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
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options

        if processor != "cpu":
            raise RuntimeError(f"litert: no processor {processor!r}")
        path = Path(artifact)
        self._model = model = CompiledModel.from_file(
            str(path / "model.tflite" if path.is_dir() else path),
            options=Options(
                hardware_accelerators=HardwareAccelerator.CPU,
                cpu_options=CpuOptions(num_threads=threads),
            ),
        )
        self._outputs = outputs
        key = next(iter(model.get_signature_list()))
        self._input_details = model.get_input_tensor_details(key)
        self._output_details = model.get_output_tensor_details(key)
        self._input_names = in_order(list(self._input_details), inputs)
        self._output_names = in_order(list(self._output_details), outputs)
        self._key = key
        self._in = {
            name: model.create_input_buffer_by_name(key, name) for name in self._input_names
        }
        self._out = {
            name: model.create_output_buffer_by_name(key, name) for name in self._output_names
        }

    def set_inputs(self, arrays: list[Any]) -> None:
        """Write the inputs, cast to the model's own types (int64 indices are int32 here)."""
        import numpy as np

        for name, array in zip(self._input_names, arrays, strict=True):
            dtype = self._input_details[name]["dtype"]
            self._in[name].write(np.ascontiguousarray(array, dtype=np.dtype(dtype)))

    def invoke(self) -> None:
        """Run the model once."""
        self._model.run_by_name(self._key, self._in, self._out)

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        import numpy as np

        arrays = []
        for name, spec in zip(self._output_names, self._outputs, strict=True):
            dtype = np.dtype(self._output_details[name]["dtype"])
            count = int(np.prod(spec["shape"]))
            arrays.append(self._out[name].read(count, dtype).reshape(spec["shape"]))
        return arrays

    def actual(self) -> dict[str, Any]:
        """What can be read back: LiteRT does not tell its threads."""
        return {"threads": None, "provider": "xnnpack"}


def in_order(names: list[str], specs: list[dict[str, Any]]) -> list[str]:
    """A signature's names in the model's order.

    A converted program calls them ``args_0``, ``args_1``, ...: by number; others by their name.

    Raises:
        RuntimeError: another number of them, or names that say no order.
    """
    if len(names) != len(specs):
        raise RuntimeError(f"litert: {len(names)} tensors in the file, {len(specs)} in the model")
    wanted = [str(spec["name"]) for spec in specs]
    if set(names) == set(wanted):
        return wanted
    numbers = {name: re.search(r"(\d+)$", name) for name in names}
    if len(names) > 1 and not all(numbers.values()):
        raise RuntimeError(f"litert: no order in {', '.join(names)}")
    return sorted(names, key=lambda name: int(found[1]) if (found := numbers[name]) else 0)
