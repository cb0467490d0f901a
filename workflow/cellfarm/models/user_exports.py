"""The exporters that only a user's own file needs. Each result is checked against the file's outputs.

Heavy imports stand in the functions: the one from TFLite runs in an environment without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import RecipeError, Unsupported, shorten

#: Samples that an exported model is checked on beside the inputs of record.
_HELD_OUT = 2
#: The farthest that an exported model may be from the file, as a share of the largest magnitude.
MAX_RELATIVE_ERROR = 1e-3
#: The same for a file in 8 bits, whose rounding another runtime does otherwise, layer after layer: what
#: is off by less is left to the cell's own verification.
MIN_COSINE_INT8 = 0.99
#: What onnx2torch knows best, and tf2onnx writes.
_OPSET = 17

Arrays = list[NDArray[Any]]
Run = Callable[[Arrays], Arrays]


def export(source: Path, start: str, form: str, model: Path, out: Path) -> None:
    """Export one format to another, and check what comes out.

    Args:
        source: the file that is exported.
        start, form: its format, and the one that is wanted.
        model: the folder that `user_files.build` filled.
        out: the folder to write into.

    Raises:
        RecipeError: no exporter does that.
        Unsupported: the exporter refuses the file, or what it makes of it is wrong.
    """
    if (start, form) not in EXPORTERS:
        raise RecipeError(f"no exporter makes {form} of {start}")
    facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
    samples = list(_samples(model, facts))
    run = EXPORTERS[start, form](source, facts, samples[0][0], out)
    for inputs, reference in samples:
        _check(f"{start} to {form}", run(inputs), reference, facts)


def _samples(model: Path, facts: dict[str, Any]) -> Iterator[tuple[Arrays, Arrays]]:
    """Inputs with the file's own outputs for them: those of record first."""
    for given, answers, count in (
        ("inputs.npz", "reference.npz", None),
        ("heldout.npz", "heldout_reference.npz", _HELD_OUT),
    ):
        inputs = _load(model / given, facts["inputs"])
        outputs = _load(model / answers, facts["outputs"])
        if count is None:
            yield inputs, outputs
            continue
        for sample in range(count):
            yield [one[sample] for one in inputs], [one[sample] for one in outputs]


def _script_to_program(source: Path, facts: dict[str, Any], inputs: Arrays, out: Path) -> Run:
    from user_torch import load_script, to_program

    try:
        program = to_program(load_script(source), inputs)
    except Exception as error:
        raise Unsupported(f"TorchScript to a program: {_script_reason(str(error))}") from error
    return _save_program(program, out)


def _script_reason(text: str) -> str:
    """TorchScript points at the line that failed, and often says no more."""
    lines = text.splitlines()
    marks = [position for position, line in enumerate(lines) if "<--- HERE" in line]
    if not marks:
        return shorten(text)
    # Nothing is said where a tensor's value is read: it is not known while operators are recorded.
    said = lines[-1].partition(":")[2].strip() or "control flow that depends on a tensor's values"
    return shorten(f"{said}, at: {lines[marks[-1] - 1].strip()}")


def _onnx_to_program(source: Path, facts: dict[str, Any], inputs: Arrays, out: Path) -> Run:
    import onnx
    import torch
    from onnx import version_converter
    from source_torchvision import import_torchvision

    import_torchvision()  # onnx2torch imports it, and would stumble over its missing operators
    import onnx2torch
    from user_torch import to_program

    given = onnx.load(source)
    try:
        opset = max(one.version for one in given.opset_import if one.domain in ("", "ai.onnx"))
        older = version_converter.convert_version(given, _OPSET) if opset > _OPSET else given
        _plain_reshapes(older)
        module = onnx2torch.convert(older).eval().requires_grad_(False)
        # Its modules read axes and shapes from tensors. They are constants, but only a frozen trace
        # takes them so; what depends on the input instead shows in the check on other samples.
        traced = torch.jit.trace(module, [*map(torch.from_numpy, inputs)], check_trace=False)
        program = to_program(torch.jit.freeze(traced.eval()), inputs)
    except Exception as error:
        raise Unsupported(f"onnx2torch: {shorten(error)}") from error
    return _save_program(program, out)


def _save_program(program: Any, out: Path) -> Run:
    import torch
    from user_torch import run_module

    torch.export.save(program, out / "model.pt2")
    return lambda inputs: run_module(program.module(), inputs)


def _plain_reshapes(model: Any) -> None:
    """Take `allowzero`, which onnx2torch does not know, from reshapes to shapes without a zero."""
    from onnx import numpy_helper

    shapes = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or 0 in shapes.get(node.input[1], (0,)):
            continue
        for attribute in [one for one in node.attribute if one.name == "allowzero"]:
            node.attribute.remove(attribute)


def _tflite_to_onnx(source: Path, facts: dict[str, Any], inputs: Arrays, out: Path) -> Run:
    import onnx
    import onnxruntime
    import tf2onnx

    try:
        model, _ = tf2onnx.convert.from_tflite(str(source), opset=_OPSET)
        _rename(model, facts)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Unsupported(f"tf2onnx: {shorten(error)}") from error
    onnx.save(model, out / "model.onnx")
    names = [spec["name"] for spec in facts["inputs"]]
    return lambda arrays: list(session.run(None, dict(zip(names, arrays, strict=True))))


def _rename(model: Any, facts: dict[str, Any]) -> None:
    """Call inputs and outputs as in model.json; they stand in the same order."""
    graph = model.graph
    names = {}
    for kind, ends in (("inputs", graph.input), ("outputs", graph.output)):
        for end, spec in zip(ends, facts[kind], strict=True):
            names[end.name] = spec["name"]
            end.name = spec["name"]
    for node in graph.node:
        for ends in (node.input, node.output):
            for position, name in enumerate(ends):
                ends[position] = names.get(name, name)


def _check(
    what: str, results: Sequence[NDArray[Any]], reference: Arrays, facts: dict[str, Any]
) -> None:
    in_8_bits = facts["precision"] == "int8"
    for result, wanted, spec in zip(results, reference, facts["outputs"], strict=True):
        if result.shape != wanted.shape:
            raise Unsupported(
                f"{what}: output {spec['name']!r} comes out as {list(result.shape)}, not"
                f" {list(wanted.shape)}"
            )
        scale = float(np.abs(wanted.astype(np.float64)).max(initial=0.0)) or 1.0
        error = float(np.abs(result.astype(np.float64) - wanted).max(initial=0.0)) / scale
        if in_8_bits and _cosine(result, wanted) >= MIN_COSINE_INT8:
            continue
        if not error <= MAX_RELATIVE_ERROR:
            raise Unsupported(
                f"{what}: output {spec['name']!r} comes out wrong by {error:.2g} of its magnitude"
            )


def _cosine(one: NDArray[Any], two: NDArray[Any]) -> float:
    a, b = one.astype(np.float64).ravel(), two.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))


def _load(path: Path, specs: list[dict[str, Any]]) -> Arrays:
    with np.load(path) as arrays:
        return [arrays[spec["name"]] for spec in specs]


EXPORTERS: dict[tuple[str, str], Callable[[Path, dict[str, Any], Arrays, Path], Run]] = {
    ("script", "pt2"): _script_to_program,
    ("onnx", "pt2"): _onnx_to_program,
    ("tflite", "onnx"): _tflite_to_onnx,
}
