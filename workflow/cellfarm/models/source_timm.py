"""Architectures of timm, in the form that is deployed."""

from __future__ import annotations

from typing import Any

from protocol import RecipeError
from refusing import check_no_download, construct, unknown
from source_torchvision import import_torchvision
from torch import nn


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """An architecture of ``timm.list_models()``, as it is trained: see `deploy`.

    Raises:
        RecipeError: an unknown one, or an argument that it does not take.
    """
    import_torchvision()  # timm imports it, and would stumble over the same operators
    import timm

    known = timm.list_models()
    if name not in known:
        raise RecipeError(unknown("timm architecture", name, known))
    check_no_download(arguments)
    # Plain matrix products and a softmax: the fused form is no operator of most libraries, nor of
    # the formats that older ones read.
    timm.layers.set_fused_attn(enable=False)
    return construct(name, lambda: timm.create_model(name, pretrained=False, **arguments))


def deploy(model: nn.Module) -> nn.Module:
    """Merge branches that exist for training only (MobileOne, FastViT, RepVGG): the same function
    with fewer operators. BatchNorm's statistics go into the merged weights, so they come first.
    """
    from timm.utils import reparameterize_model

    merged: nn.Module = reparameterize_model(model, inplace=True)
    return merged
