"""The import of torchvision, which must come before other packages import it."""

from __future__ import annotations

import sys
from types import ModuleType

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # a Library removes its operators when it is deleted


def import_torchvision() -> ModuleType:
    """Import torchvision, also if its compiled operators do not fit the installed torch.

    The index's torchvision is built against the CUDA torch; with a CPU torch its library does not
    load, and its import then fails on two operators that no network uses. Declaring them is enough.
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
