"""Padding in 8 bits, where XNNPACK has one scale for input and output."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cellfarm.base.project import PACKAGE, Project
from cellfarm.envs.environments import build, clean_variables, library_environment, locate
from cellfarm.libraries import resolve

from tests.support.projects import REPOSITORY

SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import numpy, torch
from convert import convert
from executorch.runtime import Runtime
from torch import nn


class Uneven(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, 2)
        self.third = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = nn.functional.pad(nn.functional.relu(self.first(x)), (0, 1, 0, 1))
        x = nn.functional.relu(self.second(x))
        # As in NASNet, the operator after the pad has no scale.
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.third(nn.functional.avg_pool2d(shifted, 1, 2))


torch.manual_seed(0)
network, out = Uneven().eval(), Path(sys.argv[3])
samples = torch.randn(16, 1, 3, 16, 16)
torch.export.save(torch.export.export(network, (samples[0],)), out / "model.pt2")
numpy.savez(out / "calibration.npz", x=samples.numpy())
model = {"calibration": str(out / "calibration.npz"), "inputs": [{"name": "x"}]}
convert(out / "model.pt2", out, "int8", model)
method = Runtime.get().load_program(out / "model.pte").load_method("forward")
with torch.no_grad():
    actual, expected = method.execute([samples[0]])[0].flatten(), network(samples[0]).flatten()
print("cosine", float(torch.nn.functional.cosine_similarity(actual, expected, dim=0)))
"""


def test_a_padded_network_loads_and_is_right(tmp_path: Path):
    library, version = resolve("executorch")
    environment = locate(Project(REPOSITORY), library_environment(library, version, "convert"))
    state = build(environment)
    assert state.status == "ok", state.reason
    folders = (str(PACKAGE / "conversion"), str(PACKAGE / "libraries" / library), str(tmp_path))
    completed = subprocess.run(
        [str(environment.python), "-s", "-c", SCRIPT, *folders],
        capture_output=True,
        text=True,
        check=False,
        env=clean_variables(),
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    (line,) = [line for line in completed.stdout.splitlines() if line.startswith("cosine ")]
    assert float(line.split()[1]) > 0.99
