"""TensorFlow Lite's interpreter, which every version of LiteRT's package has: XNNPACK on the CPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def import_library() -> str:
    """Import the interpreter; return the version of its package: the library reports none."""
    from importlib.metadata import version

    import ai_edge_litert.interpreter  # noqa: F401

    return version("ai-edge-litert")


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder, with ``model.tflite``.
        processor: ``cpu``.
        threads: of the interpreter and XNNPACK.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

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
        from ai_edge_litert.interpreter import Interpreter

        if processor != "cpu":
            raise RuntimeError(f"tflite: no processor {processor!r}")
        path = Path(artifact) / "model.tflite"
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        signature = next(iter(self._interpreter.get_signature_list()))
        runner = self._interpreter.get_signature_runner(signature)
        self._inputs = _in_order(runner.get_input_details(), inputs)
        self._outputs = _in_order(runner.get_output_details(), outputs)
        self._shapes = [spec["shape"] for spec in outputs]

    def set_inputs(self, arrays: list[Any]) -> None:
        """Copy the inputs, cast to the file's types; inferences do not change them."""
        import numpy as np

        for tensor, array in zip(self._inputs, arrays, strict=True):
            data = np.ascontiguousarray(array, dtype=tensor["dtype"])
            self._interpreter.set_tensor(tensor["index"], data)

    def invoke(self) -> None:
        """Run the model once."""
        self._interpreter.invoke()

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        return [
            self._interpreter.get_tensor(tensor["index"]).reshape(shape)
            for tensor, shape in zip(self._outputs, self._shapes, strict=True)
        ]

    def actual(self) -> dict[str, Any]:
        """The interpreter reports neither its threads nor whether XNNPACK took the model."""
        return {"threads": None, "provider": "cpu"}


def _in_order(details: dict[str, Any], specs: list[dict[str, Any]]) -> list[Any]:
    """A signature's tensors in the model's order.

    A converted program's names are ``args_0``, ``args_1``, ...; other files have the model's names.
    """
    if len(details) != len(specs):
        raise RuntimeError(f"tflite: {len(details)} tensors in the file, {len(specs)} in the model")
    model_names = [str(spec["name"]) for spec in specs]
    if set(details) == set(model_names):
        return [details[name] for name in model_names]
    numbers = {name: re.search(r"\d+$", name) for name in details}
    if len(details) > 1 and not all(numbers.values()):
        raise RuntimeError(f"tflite: no order in {', '.join(details)}")
    names = sorted(details, key=lambda name: int(match[0]) if (match := numbers[name]) else 0)
    return [details[name] for name in names]
