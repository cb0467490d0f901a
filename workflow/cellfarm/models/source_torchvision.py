"""Architectures of torchvision: classifiers, segmentation networks, detectors without post-processing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from network import Network
from protocol import RecipeError
from refusing import arguments_of, check_name, construct
from torch import Tensor, nn
from torchvision_import import import_torchvision


class RawDetector(nn.Module):
    """Backbone and head of a detector: the parts that are trained, and that an accelerator can run.

    Resizing, decoding and suppression of boxes depend on data; on devices an application does them.

    Args:
        detector: a model of torchvision.models.detection with `backbone` and `head`.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The head's raw outputs, such as `bbox_regression` [N, anchors, 4] and `cls_logits`
        [N, anchors, classes], for images [N, 3, H, W]."""
        features = self.backbone(images)
        outputs: dict[str, Tensor] = self.head(list(features.values()))
        return outputs


def build(recipe: Mapping[str, Any]) -> Network:
    """An architecture of ``torchvision.models.list_models()``.

    Raises:
        RecipeError: there is no such architecture, or it does not take an argument.
    """
    models = import_torchvision().models
    name = recipe["architecture"]
    check_name("torchvision architecture", name, models.list_models())
    arguments = arguments_of(recipe)
    builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    if name in {"inception_v3", "googlenet"}:
        # Their own initialisation takes a minute with scipy; torch's default is as random.
        arguments.setdefault("init_weights", False)
    model = construct(name, lambda: builder(weights=None, **arguments))
    if not hasattr(models.detection, name):
        return Network(model, recipe)
    if not (hasattr(model, "backbone") and hasattr(model, "head")):
        raise RecipeError(f"{name} proposes regions: its heads run on as many as it finds")
    return Network(RawDetector(model), recipe)
