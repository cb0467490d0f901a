"""Describe an ONNX graph. The Python of the ``models`` environment, which has onnx, runs this file.

    python graph_worker.py REQUEST.json     {"file": "<an ONNX file>", "out": "<empty folder>"}

It writes ``graph.json`` (see `describe`). The last line on stdout is
``{"status": "ok" | "failed", "reason": str | null}``. It imports nothing else of cellfarm.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

#: Operators that multiply and add -> the position of the weights, or of the second factor, among the inputs.
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
PRODUCTS = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
#: Weights of more elements than this are dropped before shape inference, which does not need them.
_SHAPE_ELEMENTS = 1024
#: Most operators that functions may unfold to, and most elements or multiply-adds: no model has as many.
_UNFOLDED = 1_000_000
_MOST = 2**63

Shape = tuple[int, ...]


class Undescribable(Exception):
    """The file holds no operators, or lacks a size; the message says which."""


@dataclass(frozen=True)
class Node:
    """One operator, with the shapes of its inputs and outputs in order; None is unknown.

    `weights` says for each input whether it holds weights.
    """

    op: str
    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape | None]
    weights: Sequence[bool]
    attributes: Mapping[str, int]


def multiply_adds(node: Node) -> tuple[str, int] | None:
    """The kind of a convolution or a matrix product, and its multiply-adds; None for other operators.

    Kinds: ``pointwise`` (1 x 1), ``depthwise``, ``grouped`` and other ``convolution``; ``linear`` is a
    product with weights, ``attention`` one of two activations. A convolution takes as many products as one
    filter has elements for each element of its output, a transposed one for each of its input.

    Raises:
        Undescribable: a shape is not known.
    """
    if node.op in CONVOLUTIONS:
        filters = _known(node, node.inputs[CONVOLUTIONS[node.op]])
        data = node.inputs[0] if node.op == "ConvTranspose" else node.outputs[0]
        return _convolution(node, filters), prod(_known(node, data)) * prod(filters[1:])
    if node.op in PRODUCTS:
        first = _known(node, node.inputs[0])
        inner = first[0] if node.attributes.get("transA") else first[-1]
        has_weights = node.weights[0] or node.weights[PRODUCTS[node.op]]
        kind = "linear" if has_weights else "attention"
        return kind, prod(_known(node, node.outputs[0])) * inner
    return None


def _convolution(node: Node, filters: Shape) -> str:
    if node.attributes.get("group", 1) > 1:
        return "depthwise" if filters[1] == 1 else "grouped"
    return "pointwise" if prod(filters[2:]) == 1 else "convolution"


def _known(node: Node, shape: Shape | None) -> Shape:
    if not shape:  # a scalar is no factor
        raise Undescribable(f"the file does not tell the sizes of an operator of type {node.op}")
    return shape


def describe(file: Path) -> dict[str, Any]:
    """The graph's numbers, for the choice of a library.

    {"parameters", "nodes" (operators), "activations" (elements of all outputs of operators),
    "macs_by_kind" (see `multiply_adds`)}. A node of weights alone is no operator: a library computes it
    once.

    Raises:
        Undescribable: it holds no operators, or a size other than the batch is free.
    """
    graph = _load(file).graph
    shapes = _shapes(graph)
    weights = {tensor.name for tensor in graph.initializer}
    parameters = sum(prod(tensor.dims) for tensor in graph.initializer)
    macs: Counter[str] = Counter()
    nodes = activations = 0
    for node in graph.node:
        if all(name in weights for name in node.input if name):
            weights.update(node.output)
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            parameters += sum(prod(tensor.dims) for tensor in values)
            continue
        nodes += 1
        activations += sum(prod(shapes[name]) for name in node.output if name in shapes)
        work = multiply_adds(_node(node, shapes, weights))
        if work:
            kind, count = work
            macs[kind] += count
    if not nodes:
        raise Undescribable("it holds no operators")
    if max(parameters, activations, *macs.values()) > _MOST:
        raise Undescribable("its sizes are those of no model: more than 2^63")
    return {
        "parameters": parameters,
        "nodes": nodes,
        "activations": activations,
        "macs_by_kind": dict(macs),
    }


def _load(file: Path) -> Any:
    """The model with inferred shapes: a free batch is 1, and large weights are dropped."""
    import onnx
    from onnx import inliner, shape_inference

    model = onnx.load(file, load_external_data=False)
    if any(size < 0 for tensor in model.graph.initializer for size in tensor.dims):
        raise Undescribable("weights have a size below 0")
    if model.functions:
        _check_functions(model)
        model = inliner.inline_local_functions(model)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > _SHAPE_ELEMENTS:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                tensor.ClearField(field)
    weights = {tensor.name for tensor in model.graph.initializer}
    was_free = [_settle(value) for value in model.graph.input if value.name not in weights]
    if any(was_free):
        del model.graph.value_info[:]  # it names the sizes that were free
    return shape_inference.infer_shapes(model, data_prop=True)


def _check_functions(model: Any) -> None:
    """Raise Undescribable where functions call themselves, or unfold to more operators than a model has."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    unfolded: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def size(nodes: Any) -> int:
        total = 0
        for node in nodes:
            name = node.domain, node.op_type
            if name not in bodies:
                total += 1
                continue
            if name in open_calls:
                raise Undescribable(f"its function {node.op_type!r} calls itself")
            if name not in unfolded:
                open_calls.add(name)
                unfolded[name] = size(bodies[name])
                open_calls.remove(name)
            total += unfolded[name]
        return total

    if size(model.graph.node) > _UNFOLDED:
        raise Undescribable(f"its functions unfold to more than {_UNFOLDED:,} operators")


def _settle(value: Any) -> bool:
    """Set a free first size of an input to a batch of 1, and return whether it was free.

    Raises:
        Undescribable: another size is free.
    """
    sizes = value.type.tensor_type.shape.dim
    free = [axis for axis, size in enumerate(sizes) if size.dim_value <= 0]
    if free not in ([], [0]):
        raise Undescribable(
            f"input {value.name!r} leaves sizes free: cellfarm models add settles them"
        )
    for axis in free:
        sizes[axis].dim_value = 1
    return bool(free)


def _shapes(graph: Any) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        sizes = tensor.shape.dim
        if tensor.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes


def _node(node: Any, shapes: Mapping[str, Shape], weights: set[str]) -> Node:
    return Node(
        op=node.op_type,
        inputs=[shapes.get(name) for name in node.input],
        outputs=[shapes.get(name) for name in node.output],
        weights=[name in weights for name in node.input],
        attributes={attribute.name: attribute.i for attribute in node.attribute},
    )


def main(path: str) -> None:
    """Answer one request."""
    status, reason = "ok", None
    try:
        request = json.loads(Path(path).read_text(encoding="utf-8"))
        text = json.dumps(describe(Path(request["file"])), indent=1) + "\n"
        (Path(request["out"]) / "graph.json").write_text(text, encoding="utf-8")
    except Undescribable as error:
        status, reason = "failed", str(error)
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    print(json.dumps({"status": status, "reason": reason}))


if __name__ == "__main__":
    main(sys.argv[1])
