"""The calibration of random weights, in the environment that builds models."""

from __future__ import annotations

import json
import subprocess

import pytest
from cellfarm.base.project import PACKAGE
from cellfarm.envs.environments import MODELS_ENVIRONMENT, clean_variables

from tests.support.models_python import interpreter

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from calibration import amplification, calibrate_batch_norm
from torch import nn


class Classifier(nn.Module):
    def __init__(self, depth):
        super().__init__()
        layers = []
        for number in range(depth):
            layers += [nn.Conv2d(16 if number else 3, 16, 3, padding=1)]
            layers += [nn.BatchNorm2d(16), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10))

    def forward(self, picture):
        return (self.layers(picture),)


def batch(seed):
    return [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))]


networks = {}
for depth in (3, 60):
    torch.manual_seed(0)
    network = Classifier(depth)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.train()
    for _ in range(30):  # statistics alone
        network(*batch(1))
    before = amplification(network.eval(), batch(9))
    count = calibrate_batch_norm(network, lambda: [batch(1), batch(2)])
    networks[depth] = {
        "layers": count,
        "biases": sorted({value for norm in norms for value in norm.bias.tolist()}),
        "training": any(module.training for module in network.modules()),
        "momentum": {norm.momentum for norm in norms} == {0.1},
        "before": before,
        "after": amplification(network, batch(9)),
    }
print(json.dumps(networks))
"""


@pytest.fixture(scope="module")
def networks() -> dict[str, dict[str, object]]:
    argv = [str(interpreter(MODELS_ENVIRONMENT)), "-s", "-c", SCRIPT, str(PACKAGE / "models")]
    completed = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=clean_variables()
    )
    assert completed.returncode == 0, completed.stderr[-4000:]
    return json.loads(completed.stdout)


def test_a_deep_network_amplifies_no_more_than_a_trained_one(networks):
    """Without it, 60 layers of ReLUs between BatchNorms drown 8 bits in noise."""
    deep = networks["60"]
    assert deep["before"] > 30
    assert deep["after"] < 15  # 10 on the batches that it was made for
    (bias,) = deep["biases"]
    assert 0 < bias <= 1.5


def test_a_network_that_amplifies_little_keeps_its_biases(networks):
    assert networks["3"]["biases"] == [0.0]


def test_the_layers_are_as_they_were_but_for_statistics_and_biases(networks):
    for depth, facts in networks.items():
        assert facts["layers"] == int(depth)
        assert facts["momentum"] and not facts["training"]
