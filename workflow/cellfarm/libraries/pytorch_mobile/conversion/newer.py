"""Operators that are newer than PyTorch 1.13, made of those that it has.

Such an operator is declared, so that TorchScript with it loads. Then the module is traced anew with a
function of the same meaning in its place, so the artifact does not contain it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from conversion.graphs import as_fx, check
from torch import Tensor, fx
from torch.library import Library


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """PyTorch 2's operator for inference: softmax(query keyᵀ · scale + mask) value.

    Args:
        query: [..., heads, L, E]; key: [..., heads, S, E]; value: [..., heads, S, Ev].
        attn_mask: broadcast to [..., L, S]; true for what takes part, or numbers to add.
    """
    length, size = (int(length) for length in query.shape[-2:])
    if enable_gqa:
        heads = int(query.shape[-3])
        key, value = (_repeat(tensor, heads // int(tensor.shape[-3])) for tensor in (key, value))
    if is_causal:
        attn_mask = torch.ones(length, int(key.shape[-2]), dtype=torch.bool).tril()
    factor = 1 / math.sqrt(size) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if attn_mask is None:
        shares = scores.softmax(-1)
    elif attn_mask.dtype == torch.bool:
        hidden = attn_mask.logical_not()
        # Masked again after the softmax: if all are hidden, the shares are 0 and not 0/0.
        shares = scores.masked_fill(hidden, -math.inf).softmax(-1).masked_fill(hidden, 0.0)
    else:
        shares = (scores + attn_mask).softmax(-1)
    return shares @ value


def rms_norm(
    input: Tensor,  # as the schema calls it
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """PyTorch 2's operator: input / sqrt(mean of its squares over the last axes + eps) · weight."""
    axes = [-1 - axis for axis in range(len(normalized_shape))]
    least = torch.finfo(input.dtype).eps if eps is None else eps
    result = input * (input.square().mean(axes, keepdim=True) + least).rsqrt()
    return result if weight is None else result * weight


def _repeat(heads: Tensor, times: int) -> Tensor:
    """[..., heads, S, E] -> [..., heads * times, S, E], each head `times` times in a row."""
    return torch.stack([heads] * times, -3).flatten(-4, -3)


#: schema in the first version that has it -> what it computes
_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None,"
    " float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False)"
    " -> Tensor": scaled_dot_product_attention,
    "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)"
    " -> Tensor": rms_norm,
}
_BY_NAME = {function.__name__: function for function in _OPERATORS.values()}
_libraries: list[Any] = []  # kept, because declarations end with their library


def declare() -> None:
    """Declare the operators, so that a file with them loads."""
    fragment = torch._C._dispatch_library("FRAGMENT", "aten", "", __file__, 0)
    kernels = Library("aten", "IMPL")
    _libraries.extend((fragment, kernels))
    for schema, function in _OPERATORS.items():
        fragment.def_(schema, "")
        kernels.impl(function.__name__, function, "CompositeImplicitAutograd")


def replace(module: torch.jit.ScriptModule, inputs: list[Tensor]) -> torch.jit.ScriptModule:
    """A frozen module without these operators; the same module if it has none.

    Raises:
        Unsupported: it has such an operator and control flow.
    """
    kinds = {node.kind().removeprefix("aten::") for node in module.graph.nodes()}
    if not kinds & _BY_NAME.keys():
        return module
    graph = as_fx(module)
    for node in graph.graph.nodes:
        name = str(getattr(node.target, "__name__", ""))
        if node.op == "call_function" and name in _BY_NAME:
            node.target = _BY_NAME[name]
    graph = fx.GraphModule(graph, graph.graph)
    check(graph, module, inputs)
    traced = torch.jit.trace(graph, tuple(inputs), check_trace=False)
    return torch.jit.freeze(traced.eval())
