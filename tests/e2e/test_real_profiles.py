"""The profilers of all libraries, in their own environments, on a real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cellfarm import libraries

from tests.support.farm import PROTOCOL, Farm
from tests.support.protocols import with_measures

pytestmark = pytest.mark.pipeline
#: The TFLite interpreter's Python interface does not report times of operators.
WITHOUT_PROFILER = ["tflite"]
#: The libraries that run on this machine's processor without a user's tool.
LIBRARIES = [
    name
    for name, library in libraries.all_libraries().items()
    if library.has_backend and "cpu" in library.processors and name not in WITHOUT_PROFILER
]
MODEL = "squeezenet1_1"  # at its full size, so that operators take measurable time


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """library -> the profile that the pipeline stored"""
    farm = Farm.create(tmp_path_factory.mktemp("operators") / "farm")
    farm.write("config/protocols/test.yaml", with_measures(PROTOCOL, operators={"runs": 20}))
    farm.configure(models=[MODEL], libraries=LIBRARIES)
    farm.run("measured")
    by_library = {}
    for path in farm.result_files():
        if not Path(path).name.startswith("operators-"):
            continue
        result = json.loads((farm.root / "results/cells" / path).read_text(encoding="utf-8"))
        (launch,) = [launch for launch in result["launches"] if launch["mode"] == "profile"]
        assert launch["status"] == "ok", launch
        by_library[Path(path).parts[1].partition("@")[0]] = launch["profile"]
    return by_library


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_profile_is_whole_and_named_in_common_words(profiles, library):
    profile = profiles[library]
    operators = profile["operators"]
    assert [operator["position"] for operator in operators] == list(range(len(operators)))
    assert {operator["type"] for operator in operators} <= {
        "Conv", "MatMul", "MaxPool", "Concat", "Copy", "Transpose", "Reshape", "Reduce",
        "AveragePool", "GlobalAveragePool", "Relu", "Clip",
    }  # fmt: skip
    # SqueezeNet has 26 convolutions and 3 poolings; XNNPACK calls those of 1 x 1 fully connected.
    assert sum(operator["type"] in ("Conv", "MatMul") for operator in operators) == 26
    assert sum(operator["type"] == "MaxPool" for operator in operators) == 3
    # Convolutions are where the time goes; no pooling, copy or concatenation takes most of it.
    convolutions = sum(
        operator["ms"] for operator in operators if operator["type"] in ("Conv", "MatMul")
    )
    assert convolutions > profile["sum_ms"] / 2
    # Operators run one after the other, so they cannot take longer than their run.
    assert -0.3 < profile["gap"] < 0.01
