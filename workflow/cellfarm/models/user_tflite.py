"""A user's TFLite file, with LiteRT's interpreter."""

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

    Inputs and outputs are called as in the file's signature if it has any, and else as its
    tensors are. Sizes that a file leaves free have a value in it all the same, and keep it.

    Raises:
        RecipeError: several signatures.
    """

    def __init__(self, file: Path) -> None:
        self._content = file.read_bytes()
        # The reference kernels would take minutes; the delegate's differ in their last bits only,
        # and are what LiteRT measures. Without it the plain optimised ones are an own answer.
        self._interpreter = Interpreter(
            model_content=self._content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        signatures = self._interpreter.get_signature_list()
        if len(signatures) > 1:
            raise RecipeError(f"it has several signatures: {', '.join(signatures)}")
        ins, outs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        named_in = {details["index"]: details["name"] for details in ins}
        named_out = {details["index"]: details["name"] for details in outs}
        if signatures:
            runner = self._interpreter.get_signature_runner(next(iter(signatures)))
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
            named_in = {details["index"]: name for name, details in inputs.items()}
            named_out = {details["index"]: name for name, details in outputs.items()}
        self._ins, self._outs = ins, outs
        self._output_names = [named_out[details["index"]] for details in outs]
        self.inputs = [
            Tensor(
                named_in[details["index"]],
                tuple(int(size) for size in details["shape"]),
                np.dtype(details["dtype"]).name,
            )
            for details in ins
        ]

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Nothing to do: `complete` found every shape to be the file's."""

    def outputs(self) -> list[str]:
        return self._output_names

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        for details, array in zip(self._ins, arrays, strict=True):
            self._interpreter.set_tensor(details["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(details["index"]).copy() for details in self._outs]

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
