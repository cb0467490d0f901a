"""Statistics that make random weights behave like trained ones.

Random initialisation explodes or vanishes in deep networks: MobileNetV2's outputs are near 1e-9.
Latency then measures denormals, and a comparison of outputs measures noise. Running BatchNorm over a
few batches gives every layer the scale of a trained one, and its biases are raised until the network
amplifies disturbances no more than a trained one. A network without normalisation gets the same from
data-dependent initialisation: otherwise, SqueezeNet's outputs for two different pictures have a
cosine of 0.9998, and no comparison of outputs could tell wrong conversions from right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from protocol import RecipeError
from torch import Tensor, nn

CALIBRATION_BATCHES = 4
CALIBRATION_BATCH_SIZE = 4
#: The largest factor by which a network may amplify a small relative disturbance of its inputs. A
#: network of ReLUs between BatchNorms amplifies exponentially in its depth (Yang et al., "A Mean Field
#: Theory of Batch Normalization", ICLR 2019): Inception V4 a thousand times, and 8 bits disturb each
#: layer.
MAX_AMPLIFICATION = 10.0
BIAS_STEP = 0.25  # of a BatchNorm's output, in its standard deviations
MAX_BIAS = 1.5  # nine of ten values are then positive, and hardly any non-linearity is left
MIN_VALUES_PER_CHANNEL = 64  # with fewer, a channel's mean and variance are accidental
MIN_OUTPUT_STD = 1e-3
MAX_OUTPUT_STD = 1e3
MAX_ZERO_SHARE = 0.9
#: The share of the energy of a classifier's outputs that differs between inputs. An output that does
#: not depend on the input then has a cosine of 0.87, below every tolerance.
MIN_VARIATION = 0.25
#: The likely cause of unusable outputs.
_RANDOM_MISFIT = "the random weights fit the architecture badly"
_TRAINED_MISFIT = (
    "the trained weights fit the architecture, its arguments or the drawn inputs badly"
)


def calibrate_batch_norm(
    network: nn.Module, batches: Callable[[], Iterable[Sequence[Tensor]]]
) -> int:
    """Set the running statistics of all BatchNorm layers to their averages over ``batches``, and
    raise their biases until the network amplifies no more than `MAX_AMPLIFICATION`.

    The nearer the values are to the linear side of what follows, the less is amplified. The biases
    are raised step by step, at most to `MAX_BIAS`.

    All other layers stay in eval mode (dropout off), and so does the network afterwards.

    Args:
        batches: gives the same batches at every call, with several inputs each.

    Returns:
        The number of BatchNorm layers; with none, ``batches`` is not called.
    """
    network.eval()
    layers = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not layers:
        return 0
    biases = [layer.bias for layer in layers if layer.bias is not None]
    raised = 0.0
    _take_statistics(network, layers, batches())
    while biases and raised < MAX_BIAS:
        if amplification(network, next(iter(batches()))) <= MAX_AMPLIFICATION:
            break
        raised += BIAS_STEP
        with torch.no_grad():
            for bias in biases:
                bias += BIAS_STEP
        _take_statistics(network, layers, batches())
    return len(layers)


def _take_statistics(
    network: nn.Module, layers: Sequence[Any], batches: Iterable[Sequence[Tensor]]
) -> None:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average: few batches suffice
        layer.train()
    with torch.no_grad():
        for batch in batches:
            network(*batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def amplification(network: nn.Module, batch: Sequence[Tensor]) -> float:
    """The factor by which the network amplifies a small disturbance of its floating inputs, relative
    to the differences between the inputs of the batch: a condition number, for noise.

    Args:
        batch: several inputs each.

    Returns:
        0.0 if the outputs for the batch do not differ.
    """
    generator = torch.Generator().manual_seed(0)
    disturbed = [
        tensor + _DISTURBANCE * _variation(tensor) * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for tensor in batch
    ]
    with torch.no_grad():
        outputs, others = network(*batch), network(*disturbed)
    variation = change = 0.0
    for output, other in zip(outputs, others, strict=True):
        if output.is_floating_point() and len(output) > 1:
            variation += _variation(output) ** 2
            change += float((other - output).double().square().mean())
    return (change / variation) ** 0.5 / _DISTURBANCE if variation else 0.0


_DISTURBANCE = 1e-3  # small, but far above the rounding of float32


def _variation(tensor: Tensor) -> float:
    """Root mean square of the deviations from the mean along the first dimension."""
    return float((tensor - tensor.mean(0)).double().square().mean()) ** 0.5


def normalise_layers(network: nn.Module, batch: Sequence[Tensor]) -> int:
    """Scale and shift the layers of a network without normalisation, first to last, so that each
    channel's values have zero mean and unit variance over ``batch`` (Krähenbühl et al.,
    "Data-dependent Initializations of Convolutional Neural Networks", ICLR 2016).

    Returns:
        The number of layers changed: 0 if the network has normalisation.
    """
    network.eval()
    # By name: BatchNorm, LayerNorm, GroupNorm and the many that architectures define.
    if any("norm" in type(module).__name__.lower() for module in network.modules()):
        return 0
    layers = [module for module in network.modules() if isinstance(module, _WEIGHTED)]
    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(_normalise_output))
        network(*batch)
    return len(layers)


_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def _normalise_output(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """Forward hook: change the layer's weights, and its output to that of the new weights."""
    dimension = output.dim() - 1 if isinstance(layer, nn.Linear) else 1
    by_channel = output.movedim(dimension, 0).flatten(1)
    if by_channel.shape[1] < MIN_VALUES_PER_CHANNEL:
        scale = 1 / by_channel.std().clamp_min(1e-12).expand(len(by_channel))
        shift = torch.zeros_like(scale)
    else:
        scale = 1 / by_channel.std(dim=1).clamp_min(1e-12)
        shift = -by_channel.mean(dim=1) * scale
    weight, bias = layer.weight, layer.bias
    weight.mul_(scale.reshape(-1, *[1] * (weight.dim() - 1)))
    if bias is None:
        shift = torch.zeros_like(scale)
    else:
        bias.mul_(scale).add_(shift)
    shape = [1] * output.dim()
    shape[dimension] = -1
    return output * scale.reshape(shape) + shift.reshape(shape)


def balance_classes(network: nn.Module, batches: Iterable[Sequence[Tensor]]) -> float | None:
    """Shift the classes' biases so that inputs differ in their outputs.

    Random features, averaged over a whole picture, are nearly the same for all pictures: the same
    class always wins (ResNet-50: 97 % of the outputs' energy is common to all inputs). Classes of a
    trained classifier are about equally frequent. The common part is reduced until `MIN_VARIATION` of
    the energy differs between inputs, and no further: errors of 8 bits are relative to the whole.

    Args:
        batches: several inputs each.

    Returns:
        The share of the common part that stays; None if the last layer has no bias, or an operator
        follows it.
    """
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, _WEIGHTED)]
    last: list[tuple[nn.Module, Tensor]] = []
    results = []
    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(
                layer.register_forward_hook(lambda module, _, output: last.append((module, output)))
            )
        for batch in batches:
            last.clear()
            results.append(network(*batch)[0].flatten(1))
    layer, output = last[-1] if last else (None, results[-1])
    if (
        layer is None
        or layer.bias is None
        or not torch.equal(output.flatten(), results[-1].flatten())
    ):
        return None
    outputs = torch.cat(results).double()
    common = outputs.mean(0)
    variation = float((outputs - common).square().sum()) / (len(outputs) - 1)
    energy = float(common.square().sum()) - variation / len(outputs)
    target = variation * (1 / MIN_VARIATION - 1)
    kept = 1.0 if energy <= target else (target / energy) ** 0.5
    with torch.no_grad():
        layer.bias -= ((1 - kept) * common).to(layer.bias.dtype)
    return kept


def check_outputs(
    outputs: dict[str, Tensor],
    run_other: Callable[[], dict[str, Tensor]],
    trained: bool = False,
) -> float:
    """Refuse outputs that are useless for verification.

    Args:
        outputs: the network's outputs by name.
        run_other: gives the outputs for other inputs.
        trained: whether the weights are trained, for the message.

    Returns:
        The standard deviation over all values of all floating-point outputs.

    Raises:
        RecipeError: values that are not finite, vanish, explode, are mostly zero or constant, or
            do not depend on the input.
    """
    cause = _TRAINED_MISFIT if trained else _RANDOM_MISFIT
    floating = {name: out for name, out in outputs.items() if out.is_floating_point()}
    for name, out in floating.items():
        if not torch.isfinite(out).all():
            raise RecipeError(f"output {name!r} has values that are not finite; {cause}")
        std = float(out.double().std(unbiased=False))
        if not MIN_OUTPUT_STD <= std <= MAX_OUTPUT_STD:
            raise RecipeError(
                f"output {name!r} is degenerate: standard deviation {std:.3g} is outside"
                f" {MIN_OUTPUT_STD:g} to {MAX_OUTPUT_STD:g}; {cause}"
            )
        zeros = float((out == 0).double().mean())
        if zeros > MAX_ZERO_SHARE:
            raise RecipeError(
                f"output {name!r} is degenerate: {zeros:.0%} of its values are zero; {cause}"
            )
    if not floating:
        raise RecipeError("the model has no floating-point output to verify")
    other = run_other()
    if all(torch.equal(out, other[name]) for name, out in outputs.items()):
        raise RecipeError("the output does not depend on the input")
    values = torch.cat([out.double().flatten() for out in floating.values()])
    return float(values.std(unbiased=False))
