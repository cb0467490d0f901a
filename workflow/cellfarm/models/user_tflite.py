"""A user's TFLite file, run by LiteRT's interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from protocol import RecipeError
from user_model import Facts, Tensor, UserModel


def open_file(file: Path) -> UserModel:
    """See user_files.open_file."""
    return TfliteFile(file)


class TfliteFile:
    """See user_model.UserModel.

    Inputs and outputs have the names of the file's signature, else those of its tensors. Free sizes
    have a value in the file, and keep it.

    Raises:
        RecipeError: several signatures.
    """

    def __init__(self, file: Path) -> None:
        self._content = file.read_bytes()
        # The reference kernels would take minutes. The delegate is what LiteRT measures, so the plain
        # optimised kernels give an independent answer; the two differ in the last bits only.
        self._interpreter = Interpreter(
            model_content=self._content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        signatures = self._interpreter.get_signature_list()
        if len(signatures) > 1:
            raise RecipeError(f"it has several signatures: {', '.join(signatures)}")
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        inputs = [(details["name"], details) for details in self._input_details]
        outputs = [(details["name"], details) for details in self._output_details]
        if signatures:
            runner = self._interpreter.get_signature_runner(next(iter(signatures)))
            inputs = runner.get_input_details().items()
            outputs = runner.get_output_details().items()
        input_names = {details["index"]: name for name, details in inputs}
        output_names = {details["index"]: name for name, details in outputs}
        self._output_names = [output_names[details["index"]] for details in self._output_details]
        self.inputs = [
            Tensor(
                input_names[details["index"]],
                tuple(int(size) for size in details["shape"]),
                np.dtype(details["dtype"]).name,
            )
            for details in self._input_details
        ]

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Does nothing: `complete` has checked that every shape is the file's."""

    def outputs(self) -> list[str]:
        return self._output_names

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        for details, array in zip(self._input_details, arrays, strict=True):
            self._interpreter.set_tensor(details["index"], array)
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(details["index"]).copy()
            for details in self._output_details
        ]

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        types = {
            np.dtype(details["dtype"]).name
            for details in self._interpreter.get_tensor_details()
            if len(details["shape"]) > 1
        }
        precision = "fp16" if "float16" in types else "fp32"
        return Facts(precision="int8" if types & {"int8", "uint8"} else precision)

    def write(self, out: Path) -> None:
        (out / "model.tflite").write_bytes(self._content)
