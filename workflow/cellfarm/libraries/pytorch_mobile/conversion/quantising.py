"""INT8 by PyTorch's FX graph mode quantisation, for the kernels of its mobile builds."""

from __future__ import annotations

from typing import Any

import torch
from cellfarm_convert import Unsupported
from conversion.graphs import as_fx, check, match_images
from torch import Tensor, fx, nn
from torch.ao.quantization import (
    HistogramObserver,
    QConfig,
    QConfigMapping,
    default_dynamic_qconfig,
)
from torch.ao.quantization.backend_config.qnnpack import get_qnnpack_backend_config
from torch.ao.quantization.qconfig import (
    default_per_channel_symmetric_qnnpack_qconfig,
    default_symmetric_qnnpack_qconfig,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

#: A network with one of these loses too much if everything between its layers is quantised, too.
_KEPT_IN_FLOAT = frozenset({"layer_norm", "softmax", "matmul", "bmm"})
#: The smallest scale that XNNPACK takes, as in PyTorch's own configuration for it.
_SMALLEST_SCALE = 2**-12


def quantise(
    module: torch.jit.ScriptModule,
    inputs: list[Tensor],
    dynamic: bool,
    samples: list[list[Tensor]],
) -> torch.jit.ScriptModule:
    """A frozen module, quantised and frozen again.

    Static: signed 8-bit weights (per-channel, but per-tensor in linear layers, because XNNPACK of that
    time has no other) and activations, as XNNPACK computes. Dynamic: the weights of linear layers, whose
    inputs are quantised at run time.

    Args:
        inputs: the module's inputs, to trace with.
        samples: the inputs of each sample of the calibration set.

    Raises:
        Unsupported: the module has nothing to quantise, or control flow.
    """
    example = tuple(inputs)
    plain, graph = as_fx(module), as_fx(module, limits=not dynamic)
    if not dynamic:
        match_images(plain, example)
        match_images(graph, example)
    check(plain, module, inputs)
    options = {} if dynamic else {"backend_config": get_qnnpack_backend_config()}
    mapping = _dynamic(graph) if dynamic else _static(graph)
    prepared = prepare_fx(graph, mapping, example, **options)
    for sample in samples:
        prepared(*sample)
    quantised = convert_fx(prepared, **options)
    if not any(".quantized." in type(layer).__module__ for layer in quantised.modules()):
        kinds = "linear layer" if dynamic else "convolution or linear layer"
        raise Unsupported(f"there is nothing to quantise: PyTorch needs a {kinds}")
    return torch.jit.freeze(torch.jit.trace(quantised, example, check_trace=False).eval())


def _dynamic(graph: fx.GraphModule) -> QConfigMapping:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    convolutions = sum(isinstance(module, kinds) for module in graph.modules())
    if convolutions:
        raise Unsupported(
            "PyTorch quantises activations at run time for linear layers alone: "
            f"{convolutions} convolutions would stay in full precision"
        )
    mapping = QConfigMapping()
    # By name: by type, a ReLU that is fused with a linear layer would need the same settings.
    for name, module in graph.named_modules():
        if isinstance(module, nn.Linear):
            mapping.set_module_name(name, default_dynamic_qconfig)
    return mapping


def _static(graph: fx.GraphModule) -> QConfigMapping:
    """Everything, or only layers with weights if the network has attention or layer normalisation."""
    names = {str(getattr(node.target, "__name__", node.target)) for node in graph.graph.nodes}
    mapping = QConfigMapping()
    if not names & _KEPT_IN_FLOAT:
        mapping.set_global(_qconfig(_PER_CHANNEL))
    for name, module in graph.named_modules():  # by name, as in _dynamic
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weights = _PER_TENSOR if isinstance(module, nn.Linear) else _PER_CHANNEL
            mapping.set_module_name(name, _qconfig(weights, getattr(module, "limit", float("inf"))))
    return mapping


_PER_CHANNEL = default_per_channel_symmetric_qnnpack_qconfig.weight
_PER_TENSOR = default_symmetric_qnnpack_qconfig.weight


def _qconfig(weights: Any, limit: float = float("inf")) -> QConfig:
    activations = Limited.with_args(
        limit=limit, dtype=torch.qint8, reduce_range=False, eps=_SMALLEST_SCALE
    )
    return QConfig(activation=activations, weight=weights)


class Limited(HistogramObserver):
    """PyTorch's histogram observer for values that are clipped to a limit.

    ReLU6 after a convolution becomes ReLU, which is part of the quantised convolution, and this range:
    quantisation clips larger values at no cost.
    """

    def __init__(self, limit: float, **options: Any) -> None:
        super().__init__(**options)
        self.limit = limit

    def forward(self, values: Tensor) -> Tensor:
        limited = values.clamp(max=self.limit)
        super().forward(limited)
        return limited
