"""A frozen TorchScript graph as a graph of torch.fx, for quantisation and for `newer`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from cellfarm_convert import Unsupported
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

#: The functions that quantisation knows for ATen's operators. All others come from torch.ops and stay in
#: full precision; so do sigmoid and the like, whose quantised form has an unsigned range only.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": functional.relu,
    "hardtanh": functional.hardtanh,
    "hardswish": functional.hardswish,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "max_pool2d": functional.max_pool2d,
    "avg_pool2d": functional.avg_pool2d,
    "adaptive_avg_pool2d": functional.adaptive_avg_pool2d,
    "cat": torch.cat,
    "flatten": torch.flatten,
    "mean": torch.mean,
    "chunk": torch.chunk,
    "transpose": torch.transpose,
    "unsqueeze": torch.unsqueeze,
    "squeeze": torch.squeeze,
}

_ELEMENTWISE = (operator.add, operator.mul, operator.sub)


def as_fx(module: torch.jit.ScriptModule, limits: bool = False) -> fx.GraphModule:
    """A frozen module's graph as a graph of torch.fx: layers with weights as modules of torch.nn.

    Raises:
        Unsupported: control flow.
    """
    return _Translation(module, limits).result


def check(graph: fx.GraphModule, module: torch.jit.ScriptModule, inputs: list[Tensor]) -> None:
    """Raise if the graph computes other outputs than the module, up to the order of additions."""
    for output, expected in zip(_flat(graph(*inputs)), _flat(module(*inputs)), strict=True):
        scale = expected.double().abs().max().clamp(min=1e-30)
        if (
            output.shape != expected.shape
            or (output.double() - expected.double()).abs().max() > scale / 1e3
        ):
            raise AssertionError("the graph written for torch.fx computes something else")


def match_images(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
    """Give an operand with a value per channel the axes and strides of the image that it changes.

    Beside an image with its channels last, quantised kernels take no [C, 1, 1], and a [1, C, 1, 1] only if
    its strides are those of channels last, too. The strides of an axis of length 1 are often others.
    """
    ShapeProp(graph).propagate(*inputs)
    for node in [node for node in graph.graph.nodes if node.target in _ELEMENTWISE]:
        image = _shape(node)
        if len(image) != 4 or image[2:] == (1, 1):
            continue
        for operand in node.all_input_nodes:
            channels = _shape(operand)[-3:]
            if len(channels) == 3 and channels[0] > 1 and channels[1:] == (1, 1):
                sizes = [*_shape(operand)[:-3], *channels]
                sizes = [1] * (4 - len(sizes)) + sizes
                strides = [channels[0], 1, channels[0], channels[0]]
                with graph.graph.inserting_before(node):
                    packed = graph.graph.call_method("contiguous", (operand,))
                    last = graph.graph.call_function(torch.as_strided, (packed, sizes, strides))
                node.replace_input_with(operand, last)
    graph.recompile()


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _flat(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


class _Translation:
    """The translation of a graph; `values` holds a node or a constant for each value's name."""

    def __init__(self, module: torch.jit.ScriptModule, limits: bool) -> None:
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.limits = limits
        self.values: dict[str, Any] = {}
        self.constants: dict[int, str] = {}  # by the identity of a tensor
        script = module.graph
        for value in list(script.inputs())[1:]:
            self.values[value.debugName()] = self.graph.placeholder(
                value.debugName().replace(".", "_")
            )
        for node in script.nodes():
            self._node(node)
        outputs = [self._operand(self.values[value.debugName()]) for value in script.outputs()]
        self.graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        self.result = fx.GraphModule(self.root, self.graph)

    def _node(self, node: Any) -> None:
        kind = node.kind()
        names = [value.debugName() for value in node.outputs()]
        arguments = [self.values[value.debugName()] for value in node.inputs()]
        if kind == "prim::Constant":
            self.values[names[0]] = node.output().toIValue()
        elif kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            self.values[names[0]] = arguments if kind == "prim::ListConstruct" else tuple(arguments)
        elif kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            for position, name in enumerate(names):
                self.values[name] = self._call(operator.getitem, [arguments[0], position])
        elif kind.startswith("aten::") and not list(node.blocks()):
            name = kind.removeprefix("aten::")
            # Later readers see what is written in place.
            result = self._operator(name.removesuffix("_"), arguments, node)
            self.values[names[0]] = result
            if name.endswith("_"):
                self.values[node.inputsAt(0).debugName()] = result
        else:
            raise Unsupported(f"not rewritten: {kind} in its graph")

    def _operator(self, name: str, arguments: list[Any], node: Any) -> Any:
        layer = _LAYERS.get(name, lambda _: None)(arguments)
        if layer is not None:
            return self._layer(*layer)
        if name in ("add", "mul", "sub") and all(factor == 1 for factor in arguments[2:]):
            return self._call(getattr(operator, name), arguments[:2])
        if name in ("view", "reshape"):
            # Quantised tensors are channels last, where a view may be impossible.
            return self.graph.call_method("reshape", (self._operand(arguments[0]), *arguments[1]))
        if name in ("contiguous", "permute"):
            shape = arguments[1] if name == "permute" else []
            return self.graph.call_method(name, (self._operand(arguments[0]), *shape))
        if name == "hardtanh" and self._limit(*arguments, node.inputsAt(0)):
            return self._call(functional.relu, arguments[:1])
        function = _FUNCTIONS.get(name) or getattr(torch.ops.aten, name)
        schema = torch._C.parse_schema(node.schema())
        names = [argument.name for argument in schema.arguments if argument.kwarg_only]
        split = len(arguments) - len(names)
        keywords = dict(zip(names, arguments[split:], strict=True))
        return self._call(function, arguments[:split], keywords)

    def _limit(self, source: Any, low: float, high: float, value: Any) -> bool:
        """Put the limit of a ReLU6 on the layer before it, if nothing else reads that layer."""
        if not self.limits or low != 0 or len(value.uses()) != 1 or source.op != "call_module":
            return False
        layer = self.root.get_submodule(source.target)
        layer.limit = float(high)
        return True

    def _layer(self, layer: nn.Module, source: Any) -> fx.Node:
        name = f"layer{len(list(self.root.children()))}"
        self.root.add_module(name, layer.eval())
        return self.graph.call_module(name, (self._operand(source),))

    def _call(
        self,
        function: Callable[..., Any],
        arguments: list[Any],
        keywords: dict[str, Any] | None = None,
    ) -> fx.Node:
        keywords = {key: value for key, value in (keywords or {}).items() if value is not None}
        return self.graph.call_function(function, self._operand(tuple(arguments)), keywords)

    def _operand(self, value: Any) -> Any:
        """The value as an operand; a constant tensor becomes a buffer."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._operand(element) for element in value)
        if not isinstance(value, Tensor):
            return value
        # A frozen graph has a single constant for equal weights; tracing takes no buffer twice.
        name = self.constants.setdefault(id(value), f"constant{len(self.constants)}")
        self.root.register_buffer(name, value)
        return self.graph.get_attr(name)


def _convolution(arguments: list[Any]) -> tuple[nn.Module, Any] | None:
    source, weight, bias, stride, padding, dilation, transposed, _, groups = arguments[:9]
    if not isinstance(weight, Tensor) or transposed or weight.dim() != 4:
        return None
    return _conv2d([source, weight, bias, stride, padding, dilation, groups])


def _conv2d(arguments: list[Any]) -> tuple[nn.Module, Any] | None:
    source, weight, bias, stride, padding, dilation, groups = arguments
    if not isinstance(weight, Tensor):
        return None
    layer = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), tuple(stride),
        padding if isinstance(padding, str) else tuple(padding), tuple(dilation), groups,
        bias is not None,
    )  # fmt: skip
    return _filled(layer, weight, bias), source


def _linear(arguments: list[Any]) -> tuple[nn.Module, Any] | None:
    source, weight, bias = arguments
    if not isinstance(weight, Tensor):
        return None
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _filled(layer, weight, bias), source


def _addmm(arguments: list[Any]) -> tuple[nn.Module, Any] | None:
    bias, source, weight = arguments[:3]
    if not isinstance(weight, Tensor) or any(factor != 1 for factor in arguments[3:]):
        return None
    return _linear([source, weight.t().contiguous(), bias])


def _batch_norm(arguments: list[Any]) -> tuple[nn.Module, Any] | None:
    source, weight, bias, mean, variance, _, _, epsilon = arguments[:8]
    if not all(isinstance(value, Tensor) for value in (weight, bias, mean, variance)):
        return None
    layer = nn.BatchNorm2d(len(mean), eps=epsilon)
    layer.running_mean, layer.running_var = mean, variance
    return _filled(layer, weight, bias), source


def _filled(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


_LAYERS: dict[str, Callable[[list[Any]], tuple[nn.Module, Any] | None]] = {
    "_convolution": _convolution,
    "conv2d": _conv2d,
    "linear": _linear,
    "addmm": _addmm,
    "batch_norm": _batch_norm,
}
