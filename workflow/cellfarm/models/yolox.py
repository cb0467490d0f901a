"""YOLOX (Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430): a detector of the
YOLO family, written from the paper and its published configurations.

A CSP backbone, a pyramid that passes features down and up (PAN), and a head for each of three
levels with branches for classes and boxes, without anchors. As in YOLOv5 since 6.0, the first layer
is a 6 x 6 convolution with stride 2 instead of the "focus", which moves pixels into channels before
a 3 x 3 convolution: the same function with the same number of weights, and with operators that all
libraries have. Decoding and suppression of boxes are left to the application.
"""

from __future__ import annotations

from typing import Any

import torch
from refusing import check_name, construct
from torch import Tensor, nn

#: name -> (depth, width, depthwise) multipliers, as published.
_SIZES = {
    "yolox_nano": (0.33, 0.25, True),
    "yolox_tiny": (0.33, 0.375, False),
    "yolox_s": (0.33, 0.5, False),
}


class Block(nn.Sequential):
    """Convolution, BatchNorm, SiLU."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        convolution = nn.Conv2d(
            channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False
        )
        super().__init__(convolution, nn.BatchNorm2d(out, eps=1e-3, momentum=0.03), nn.SiLU())


class Bottleneck(nn.Module):
    """A 1 x 1 and a 3 x 3 block, with a connection around them if `shortcut`."""

    def __init__(self, channels: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Block(channels, channels, 1), wide(channels, channels, 1, depthwise)
        )
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.body(features)
        return out + features if self.shortcut else out


class CSP(nn.Module):
    """Two joined branches of half the channels, with `count` bottlenecks in the first."""

    def __init__(
        self, channels: int, out: int, count: int, depthwise: bool, shortcut: bool = True
    ) -> None:
        super().__init__()
        hidden = out // 2
        bottlenecks = [Bottleneck(hidden, shortcut, depthwise) for _ in range(count)]
        self.deep = nn.Sequential(Block(channels, hidden, 1), *bottlenecks)
        self.flat = Block(channels, hidden, 1)
        self.join = Block(2 * hidden, out, 1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.join(torch.cat([self.deep(features), self.flat(features)], dim=1))
        return out


class PyramidPooling(nn.Module):
    """Largest values around each position at four scales."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.narrow = Block(channels, hidden, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.join = Block(4 * hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        narrow = self.narrow(features)
        pooled = [pool(narrow) for pool in self.pools]
        out: Tensor = self.join(torch.cat([narrow, *pooled], dim=1))
        return out


class Head(nn.Module):
    """Raw boxes, objectness and classes of one level."""

    def __init__(self, channels: int, hidden: int, classes: int, depthwise: bool) -> None:
        super().__init__()
        self.stem = Block(channels, hidden, 1)
        self.class_branch = nn.Sequential(*(wide(hidden, hidden, 1, depthwise) for _ in range(2)))
        self.box_branch = nn.Sequential(*(wide(hidden, hidden, 1, depthwise) for _ in range(2)))
        self.classes = nn.Conv2d(hidden, classes, 1)
        self.boxes = nn.Conv2d(hidden, 4, 1)
        self.objectness = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stem = self.stem(features)
        boxes = self.box_branch(stem)
        return self.boxes(boxes), self.objectness(boxes), self.classes(self.class_branch(stem))


class YOLOX(nn.Module):
    """The detector.

    Args:
        depth: multiplies the number of bottlenecks.
        width: multiplies the number of channels.
        depthwise: separable 3 x 3 convolutions, as in the smallest size.
        classes: 80 for COCO.
    """

    def __init__(self, depth: float, width: float, depthwise: bool, classes: int) -> None:
        super().__init__()
        c3, c4, c5 = (int(channels * width) for channels in (256, 512, 1024))
        base, count = int(64 * width), max(round(3 * depth), 1)

        def stage(channels: int, out: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(
                wide(channels, out, 2, depthwise), CSP(out, out, blocks, depthwise)
            )

        stem = nn.Conv2d(3, base, 6, stride=2, padding=2, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(base, eps=1e-3, momentum=0.03), nn.SiLU())
        self.stage2 = stage(base, 2 * base, count)
        self.stage3 = stage(2 * base, c3, 3 * count)
        self.stage4 = stage(c3, c4, 3 * count)
        self.stage5 = nn.Sequential(
            wide(c4, c5, 2, depthwise),
            PyramidPooling(c5),
            CSP(c5, c5, count, depthwise, shortcut=False),
        )

        def join(channels: int, out: int) -> CSP:
            return CSP(channels, out, count, depthwise, shortcut=False)

        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow5, self.join4 = Block(c5, c4, 1), join(2 * c4, c4)
        self.narrow4, self.join3 = Block(c4, c3, 1), join(2 * c3, c3)
        self.down3, self.up4 = wide(c3, c3, 2, depthwise), join(2 * c3, c4)
        self.down4, self.up5 = wide(c4, c4, 2, depthwise), join(2 * c4, c5)
        self.heads = nn.ModuleList(
            Head(channels, int(256 * width), classes, depthwise) for channels in (c3, c4, c5)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, positions, 4], objectness [N, positions, 1] and classes [N, positions, classes],
        all raw (logits), for images [N, 3, H, W] with sides of a multiple of 32."""
        c3 = self.stage3(self.stage2(self.stem(images)))
        c4 = self.stage4(c3)
        p5 = self.narrow5(self.stage5(c4))
        p4 = self.narrow4(self.join4(torch.cat([self.upsample(p5), c4], dim=1)))
        n3 = self.join3(torch.cat([self.upsample(p4), c3], dim=1))
        n4 = self.up4(torch.cat([self.down3(n3), p4], dim=1))
        n5 = self.up5(torch.cat([self.down4(n4), p5], dim=1))
        levels = [head(features) for head, features in zip(self.heads, (n3, n4, n5), strict=True)]
        boxes, objectness, classes = (
            torch.cat([part.flatten(2) for part in parts], dim=2).transpose(1, 2)
            for parts in zip(*levels, strict=True)
        )
        return boxes, objectness, classes


def wide(channels: int, out: int, stride: int, depthwise: bool) -> nn.Module:
    """A 3 x 3 block, or its separable form."""
    if not depthwise:
        return Block(channels, out, 3, stride)
    return nn.Sequential(Block(channels, channels, 3, stride, channels), Block(channels, out, 1))


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """``yolox_nano``, ``yolox_tiny`` or ``yolox_s``; argument: ``num_classes``.

    Raises:
        RecipeError: another name or argument.
    """
    check_name("cellfarm architecture", name, _SIZES)
    for argument in arguments:
        check_name(f"argument of {name}", argument, ["num_classes"])
    return construct(name, lambda: YOLOX(*_SIZES[name], classes=arguments.get("num_classes", 80)))
