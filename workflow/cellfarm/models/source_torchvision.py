"""Architectures of torchvision: classifiers, segmentation networks, detectors without their boxes' end."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import torch
from protocol import RecipeError
from refusing import check_no_download, construct, unknown
from torch import Tensor, nn

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # a Library takes its operators along when it dies


class RawDetector(nn.Module):
    """Backbone and head of a detector: what is learnt of it, and what an accelerator can run.

    Resizing before, and decoding and suppression of boxes after them depend on data; on devices an
    application does them.

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


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """An architecture of ``torchvision.models.list_models()``.

    Raises:
        RecipeError: an unknown one, or an argument that it does not take.
    """
    models = import_torchvision().models
    known = models.list_models()
    if name not in known:
        raise RecipeError(unknown("torchvision architecture", name, known))
    check_no_download(arguments)
    builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    if name in {"inception_v3", "googlenet"}:
        # Their own initialisation takes a minute with scipy; torch's default is as random.
        arguments.setdefault("init_weights", False)
    model = construct(name, lambda: builder(weights=None, **arguments))
    if not hasattr(models.detection, name):
        return model
    if not (hasattr(model, "backbone") and hasattr(model, "head")):
        raise RecipeError(f"{name} proposes regions: its heads run on as many as it finds")
    return RawDetector(model)


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not fit the installed torch.

    The index's torchvision is built against the CUDA torch; beside a CPU torch its library does
    not load, and its import then stumbles over two operators that no network uses. Declaring
    them is enough.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(operator)
        _libraries.append(library)
        import torchvision
    return torchvision
