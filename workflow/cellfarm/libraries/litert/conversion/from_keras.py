"""A Keras model to TFLite by TensorFlow's converter, which quantises it, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cellfarm_convert import Unsupported

#: The least cosine of the model's outputs with the reference; with other weights it is lower.
MIN_COSINE = 0.9999
#: From channels first to channels last, and back.
_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


def convert(source: Path, target: Path, variant: str, model: dict[str, Any]) -> None:
    """Write a ``.tflite`` file with the inputs and outputs of the program, under the same names.

    Args:
        source: the Keras file, with channels last.
        variant: ``fp32``, ``fp16``, ``int8`` (all operators, or none) or ``int8_dynamic``.
        model: the model's description, with the paths of its samples.

    Raises:
        RuntimeError: the Keras model gives other outputs than the reference.
        Unsupported: an operator has no 8-bit form.
        Exception: TensorFlow's converter refuses the model; its errors have no common class.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    # Conversions run side by side, where threads that wait for busy cores cost more than they save.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = keras.saving.load_model(source, compile=False)
    program = _program(tf, network, model)
    _check(program, model)
    # Through a saved model, because `from_keras_model` traces the network seven times.
    module = tf.Module()
    module.variables_of_the_network = [variable.value for variable in network.variables]
    with TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=program)
        content = _convert(tf, folder, variant, model)
    if variant == "int8":
        _check_integers(tf, content)
    target.write_bytes(content)


def _convert(tf: Any, folder: str, variant: str, model: dict[str, Any]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if variant != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    elif variant == "int8":
        converter.representative_dataset = lambda: _calibration(model)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _program(tf: Any, network: Any, model: dict[str, Any]) -> Any:
    """The network as a function with the program's names, and pictures with channels first."""
    names = [spec["name"] for spec in model["outputs"]]
    signature = [
        tf.TensorSpec(spec["shape"], spec["dtype"], name=spec["name"]) for spec in model["inputs"]
    ]

    def run(*arguments: Any) -> dict[str, Any]:
        inputs = [_transpose(tf, tensor, _TO_LAST) for tensor in arguments]
        results = network(inputs if len(inputs) > 1 else inputs[0], training=False)
        outputs = results if isinstance(results, (list, tuple)) else [results]
        return {
            name: _transpose(tf, tensor, _TO_FIRST)
            for name, tensor in zip(names, outputs, strict=True)
        }

    return tf.function(run, input_signature=signature, autograph=False)


def _transpose(tf: Any, tensor: Any, order: tuple[int, ...]) -> Any:
    return tf.transpose(tensor, order) if len(tensor.shape) == len(order) else tensor


def _check(program: Any, model: dict[str, Any]) -> None:
    import numpy as np

    with np.load(model["sample_inputs"]) as arrays:
        results = program(*(arrays[spec["name"]] for spec in model["inputs"]))
    with np.load(model["reference"]) as arrays:
        for spec in model["outputs"]:
            expected = arrays[spec["name"]].astype(np.float64).ravel()
            output = np.asarray(results[spec["name"]], dtype=np.float64).ravel()
            norms = float(np.linalg.norm(expected) * np.linalg.norm(output))
            cosine = float(expected @ output) / norms if norms else 0.0
            if not cosine > MIN_COSINE:
                raise RuntimeError(
                    f"Keras' model is not the program: output {spec['name']!r} has a cosine of"
                    f" {cosine:.5f} with the reference"
                )


def _calibration(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The samples of the calibration set, by the names of the inputs."""
    import numpy as np

    with np.load(model["calibration"]) as arrays:
        columns = {spec["name"]: arrays[spec["name"]] for spec in model["inputs"]}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _check_integers(tf: Any, content: bytes) -> None:
    """Raise if operators compute in floats, which TensorFlow leaves in the file without a word."""
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    end_indices = {tensor["index"] for tensor in ends}
    floats = [
        str(tensor["name"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] is tf.float32.as_numpy_dtype and tensor["index"] not in end_indices
    ]
    if floats:
        # The casts around an operator are of no interest.
        names = [name for name in floats if name != "tfl.dequantize"] or floats
        raise Unsupported(f"TensorFlow's converter leaves in full precision: {', '.join(names)}")
