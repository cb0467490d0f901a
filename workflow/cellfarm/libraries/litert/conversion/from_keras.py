"""A model of Keras' to TFLite by TensorFlow's own converter, which quantises it too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cellfarm_convert import Unsupported

#: What the model must give of the reference's outputs: its weights are the program's, or it is another.
MIN_COSINE = 0.9999
#: From channels first to channels last, and back.
_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


def convert(source: Path, target: Path, variant: str, model: dict[str, Any]) -> None:
    """Write a ``.tflite`` file that takes and gives what the program does, under the same names.

    Args:
        source: the file of Keras', with channels last.
        target: the file to write.
        variant: ``fp32``, ``fp16``, ``int8`` (each operator of it, or none) or ``int8_dynamic``.
        model: the model's description, with the paths of its samples.

    Raises:
        RuntimeError: Keras' model gives other outputs than the reference.
        Unsupported: an operator has no form of 8 bits.
        Exception: TensorFlow's converter has errors of many kinds for what it refuses.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    # Models are converted side by side: a thread that waits for a busy core costs more than it gives.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = keras.saving.load_model(source, compile=False)
    program = _program(tf, network, model)
    _check(program, model)
    # By way of a saved model, as with `from_keras_model`, which traces the network seven times.
    kept = tf.Module()
    kept.variables_of_the_network = [variable.value for variable in network.variables]
    with TemporaryDirectory() as folder:
        tf.saved_model.save(kept, folder, signatures=program)
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
    """The network as a function that takes and gives what the program does, by the program's names:
    pictures have their channels first."""
    names = [spec["name"] for spec in model["outputs"]]
    wanted = [
        tf.TensorSpec(spec["shape"], spec["dtype"], name=spec["name"]) for spec in model["inputs"]
    ]

    def run(*pictures: Any) -> dict[str, Any]:
        turned = [_turn(tf, tensor, _TO_LAST) for tensor in pictures]
        results = network(turned if len(turned) > 1 else turned[0], training=False)
        listed = results if isinstance(results, (list, tuple)) else [results]
        return {
            name: _turn(tf, tensor, _TO_FIRST) for name, tensor in zip(names, listed, strict=True)
        }

    return tf.function(run, input_signature=wanted, autograph=False)


def _turn(tf: Any, tensor: Any, order: tuple[int, ...]) -> Any:
    return tf.transpose(tensor, order) if len(tensor.shape) == len(order) else tensor


def _check(program: Any, model: dict[str, Any]) -> None:
    import numpy as np

    with np.load(model["sample_inputs"]) as arrays:
        results = program(*(arrays[spec["name"]] for spec in model["inputs"]))
    with np.load(model["reference"]) as arrays:
        for spec in model["outputs"]:
            wanted = arrays[spec["name"]].astype(np.float64).ravel()
            given = np.asarray(results[spec["name"]], dtype=np.float64).ravel()
            norms = float(np.linalg.norm(wanted) * np.linalg.norm(given))
            cosine = float(wanted @ given) / norms if norms else 0.0
            if not cosine > MIN_COSINE:
                raise RuntimeError(
                    f"Keras' model is not the program: output {spec['name']!r} has a cosine of"
                    f" {cosine:.5f} with the reference"
                )


def _calibration(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The calibration set, one sample after the other, by the names of the inputs."""
    import numpy as np

    with np.load(model["calibration"]) as arrays:
        columns = {spec["name"]: arrays[spec["name"]] for spec in model["inputs"]}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _check_integers(tf: Any, content: bytes) -> None:
    """Refuse what computes in floats: asked for integers alone, TensorFlow leaves some, and is silent."""
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    ends = {
        end["index"]
        for end in (*interpreter.get_input_details(), *interpreter.get_output_details())
    }
    floats = [
        str(tensor["name"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] is tf.float32.as_numpy_dtype and tensor["index"] not in ends
    ]
    if floats:
        # Each stands between two casts, whose own results tell nothing.
        named = [name for name in floats if name != "tfl.dequantize"] or floats
        raise Unsupported(f"TensorFlow's converter leaves in full precision: {', '.join(named)}")
