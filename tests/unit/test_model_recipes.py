"""The models of this checkout, and the recipes that the schema accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.wanted.configuration import read_model

from tests.support.projects import REPOSITORY, make_project, write_yaml

NAMES = sorted(path.stem for path in (REPOSITORY / "models").glob("*.yaml"))
#: One model of each kind that the paper measures.
PAPER = (
    *("mobilenet_v1", "mobilenet_v2", "inception_v3", "inception_v4", "resnet50_v2", "vgg16"),
    *("squeezenet1_1", "mnasnet1_0", "nasnet_mobile", "densenet121", "efficientnet_lite0"),
    *("deeplabv3_mobilenet_v3", "ssdlite320_mobilenet_v3", "yolox_tiny", "mobilebert", "albert"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_a_recipe(name: str):
    recipe = read_model(Project(REPOSITORY), name, "test")
    assert recipe.title and recipe.weights and recipe.weights.kind == "random"
    if recipe.source == "transformers":
        assert recipe.arguments and recipe.arguments["attn_implementation"] == "eager"


def test_the_kinds_of_the_paper_are_there():
    assert set(PAPER) <= set(NAMES)


def test_a_decoder_gives_the_cache_that_it_takes():
    recipe = read_model(Project(REPOSITORY), "llama_15m_decode", "test")
    assert recipe.inputs and recipe.outputs and recipe.arguments
    cache_inputs = [spec.name for spec in recipe.inputs if spec.name.startswith("past_")]
    cache_outputs = [name for name in recipe.outputs if name.startswith("present_")]
    assert [name.removeprefix("past_") for name in cache_inputs] == [
        name.removeprefix("present_") for name in cache_outputs
    ]
    assert len(cache_inputs) == 2 * recipe.arguments["num_hidden_layers"]
    prefill = read_model(Project(REPOSITORY), "llama_15m_prefill", "test")
    assert prefill.outputs == recipe.outputs
    assert prefill.arguments == recipe.arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "paddle"}, "source"),
        ({"task": "poetry"}, "task"),
        ({"architecture": "WhisperModel..encoder"}, "architecture"),
        ({"weights": {"kind": "random"}}, "seed"),
        ({"weights": {"kind": "random", "seed": 0, "path": "w.pth"}}, "weights.path"),
        ({"weights": {"kind": "pretrained", "path": "w.pth"}}, "format"),
        ({"weights": {"kind": "pretrained", "format": "pth"}}, "either url and sha256, or path"),
    ],
    ids=["source", "task", "architecture", "seed", "path of random", "format", "no weights"],
)
def test_a_wrong_recipe_is_told(tmp_path: Path, change: dict[str, Any], message: str):
    project = make_project(tmp_path)
    recipe = yaml.safe_load((project.models / "squeezenet1_1.yaml").read_text())
    write_yaml(project.models / "squeezenet1_1.yaml", recipe | change)
    with pytest.raises(UserError, match=message):
        read_model(project, "squeezenet1_1", "test")
