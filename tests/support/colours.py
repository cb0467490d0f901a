"""Pictures of four colours, and a classifier with hand-made weights: its accuracy is known exactly."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cellfarm.base.project import Project
from cellfarm.envs.environments import build, locate
from PIL import Image

COLOURS = {
    "blue": (20, 20, 230),
    "green": (20, 230, 20),
    "red": (230, 20, 20),
    "white": (230, 230, 230),
}
SIDE = 16

#: One product of the picture with each colour's sign: if a range cuts off activations, the largest score
#: stays the largest. Every second weight is 0: without VNNI, x86 kernels add two products of 8 bits in 16,
#: which would saturate.
_MAKE = """\
import sys, numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
side = int(sys.argv[2])
signs = np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]], np.float32)
weight = np.repeat(signs[:, :, None], side * side, 2).reshape(4, -1) / side**2 * 2
weight[:, 1::2] = 0
nodes = [helper.make_node("Flatten", ["image"], ["flat"]),
         helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"], transB=1)]
constants = [numpy_helper.from_array(weight, "weight"),
             numpy_helper.from_array(np.zeros(4, np.float32), "bias")]
of = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
graph = helper.make_graph(nodes, "colours", [of("image", [1, 3, side, side])],
                          [of("scores", [1, 4])], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
"""


def write_classifier(path: Path, project: Project) -> None:
    """Write the classifier as ONNX: input `image` [1, 3, 16, 16], output `scores` [1, 4]; the classes
    are the colours in the order of their names."""
    environment = locate(project, "models")
    assert build(environment).status == "ok"
    subprocess.run([environment.python, "-c", _MAKE, str(path), str(SIDE)], check=True)


def write_picture(path: Path, colour: str, seed: int = 0, size: tuple[int, int] = (40, 30)) -> None:
    """Write a picture [width, height] of one colour with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (size[1], size[0], 3))
    Image.fromarray((np.array(COLOURS[colour]) + noise).astype(np.uint8)).save(path)


def write_pictures(
    folder: Path, count: int, mislabelled: Mapping[str, str] | None = None, **names: str
) -> None:
    """Write `count` pictures into a sub-folder per colour.

    Args:
        mislabelled: sub-folder -> the colour of its last picture instead of its own.
        names: colour -> the name of its sub-folder; by default the colour.
    """
    for colour in COLOURS:
        for number in range(count):
            last = number == count - 1
            shown_colour = (mislabelled or {}).get(colour, colour) if last else colour
            subfolder = folder / names.get(colour, colour)
            write_picture(subfolder / f"{number}.png", shown_colour, number)
