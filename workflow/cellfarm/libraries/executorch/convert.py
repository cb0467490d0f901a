"""A PyTorch program to ExecuTorch, delegated to XNNPACK; quantised by PT2E."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.pte``; inputs and outputs keep the model's types at every variant.

    Raises:
        Unsupported: an operator is not in ExecuTorch's core set or has no kernel, XNNPACK cannot
            quantise the model, or the runtime refuses the artifact.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.error import ExportError
    from torch._export.verifier import SpecViolationError

    program = torch.export.load(source)
    if variant != "fp32":
        program = _quantise(program, variant, model)
    try:
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        executable = lowered.to_executorch()
    except (ExportError, SpecViolationError, NotImplementedError) as error:
        raise Unsupported(_headline(error)) from error
    except RuntimeError as error:
        # An operator without a kernel shows only when memory is planned.
        if "Missing out variants" not in str(error):
            raise
        raise Unsupported(_headline(error)) from error
    target = out / "model.pte"
    with target.open("wb") as file:
        executable.write_to_file(file)
    _check(target)


def _quantise(program: Any, variant: str, model: dict[str, Any]) -> Any:
    """The program in 8 bits by XNNPACK's own quantiser: symmetric, with per-channel weights.

    `int8` observes the ranges of activations over the calibration set; `int8_dynamic` finds them at run
    time. Look-up tables stay floats.
    """
    import numpy as np
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    dynamic = variant == "int8_dynamic"
    module = program.module()
    if dynamic:
        operators = [node.target for node in module.graph.nodes if node.op == "call_function"]
        convolutions = sum("conv" in str(operator) for operator in operators)
        if convolutions:
            raise Unsupported(
                "XNNPACK quantises activations at run time for linear layers alone: "
                f"{convolutions} convolutions would stay in full precision"
            )
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    prepared = prepare_pt2e(module, _sharing_pads(XNNPACKQuantizer)().set_global(settings))
    with np.load(model["calibration"]) as arrays:
        columns = [torch.from_numpy(arrays[spec["name"]]) for spec in model["inputs"]]
    samples = list(zip(*columns, strict=True))
    with torch.no_grad():
        for sample in samples:
            prepared(*sample)
    quantised = convert_pt2e(prepared)
    if not any("quantize_per" in str(node.target) for node in quantised.graph.nodes):
        raise Unsupported("XNNPACK's quantiser finds nothing in the model that it can quantise")
    return torch.export.export(quantised, samples[0])


def _sharing_pads(quantiser: type) -> Any:
    """XNNPACK's quantiser, with the scale of a pad's input for its output.

    It does not annotate pads. If the next operator has no scale either (a slice), the pad has an 8-bit
    input and a float output, and XNNPACK refuses to load the artifact.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer_utils import propagate_annotation
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    pads = (torch.ops.aten.pad.default, torch.ops.aten.constant_pad_nd.default)

    class Sharing(quantiser):  # type: ignore[misc]
        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            model = super().annotate(model)
            for node in model.graph.nodes:
                if node.target not in pads or Q_ANNOTATION_KEY in node.meta:
                    continue
                before = node.args[0]
                annotation = before.meta.get(Q_ANNOTATION_KEY)
                if annotation is None or annotation.output_qspec is None:
                    continue
                shared = SharedQuantizationSpec(before)
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                    input_qspec_map={before: shared}, output_qspec=shared, _annotated=True
                )
                propagate_annotation(model)  # to what follows the pad
            return model

    return Sharing


def _check(file: Path) -> None:
    """Raise if ExecuTorch does not load the file."""
    from executorch.runtime import Runtime

    try:
        Runtime.get().load_program(file).load_method("forward")
    except RuntimeError as error:
        raise Unsupported(f"ExecuTorch does not load what it wrote: {error}") from error


def _headline(error: Exception) -> str:
    """The first line with text; the rest is advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
