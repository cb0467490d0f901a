"""Architectures of timm, in the form that is deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from network import Network
from refusing import arguments_of, check_name, construct
from torchvision_import import import_torchvision


def build(recipe: Mapping[str, Any]) -> Network:
    """An architecture of ``timm.list_models()``, in the form for training (see `deploy`).

    Raises:
        RecipeError: there is no such architecture, or it does not take an argument.
    """
    import_torchvision()  # timm imports it, and would fail on its missing operators
    import timm

    name = recipe["architecture"]
    check_name("timm architecture", name, timm.list_models())
    arguments = arguments_of(recipe)
    # Plain matrix products and a softmax: most libraries, and the formats that older ones read, lack
    # the fused operator.
    timm.layers.set_fused_attn(enable=False)
    model = construct(name, lambda: timm.create_model(name, pretrained=False, **arguments))
    return Network(model, recipe)


def deploy(network: Network) -> None:
    """Merge branches that are for training only (MobileOne, FastViT, RepVGG): the same function with
    fewer operators. BatchNorm's statistics must be settled before: they go into the merged weights.
    """
    from timm.utils import reparameterize_model

    network.model = reparameterize_model(network.model, inplace=True)
