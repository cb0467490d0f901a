"""The rewrites of PyTorch Mobile's converter: operators of PyTorch 2 and unsupported operands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cellfarm.base.project import Project
from cellfarm.base.records import FILES, RECORD
from cellfarm.envs.environments import Environment, build, locate
from cellfarm.libraries import all_libraries

from tests.support.projects import REPOSITORY
from tests.support.steps import convert

pytestmark = pytest.mark.pipeline
MOBILE = all_libraries()["pytorch_mobile"]

#: `attention`: each form of scaled_dot_product_attention, a row that sees nothing, norms with equal weights,
#: a ReLU behind a linear layer. `images`: a gate behind and one before what it is multiplied with, a view of
#: an image in its place, a factor for each channel without a batch.
MAKE = """\
import json, sys, pathlib, numpy as np, torch
from torch import nn
from torch.nn import functional as F
out = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(32, 32), nn.Linear(32, 8)
        norms = nn.RMSNorm(32), nn.RMSNorm(32, eps=1e-5), nn.LayerNorm(32), nn.LayerNorm(32)
        self.norms = nn.ModuleList(norms)
        self.register_buffer("mask", torch.rand(12, 12) > 0.3)
        self.mask[3] = False
        self.register_buffer("bias", torch.randn(4, 12, 12))
    def forward(self, x):
        for norm in self.norms: x = norm(x) + x
        q = torch.relu(self.first(x)).view(1, 12, 4, 8).transpose(1, 2)
        k = F.scaled_dot_product_attention(q, q, q)
        k = k + F.scaled_dot_product_attention(q, k, q, is_causal=True)
        k = k + F.scaled_dot_product_attention(q, k, q, attn_mask=self.mask)
        k = k + F.scaled_dot_product_attention(q, k, q, attn_mask=self.bias, scale=0.3)
        k = F.scaled_dot_product_attention(q, k[:, :2], k[:, 2:], enable_gqa=True)
        return self.last(k.transpose(1, 2).reshape(1, 12, 32))
class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)
        self.factor = nn.Parameter(torch.rand(16, 1, 1) + 0.5)
    def forward(self, x):
        x = torch.relu(self.stem(x))
        gate = F.hardsigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = self.factor * (gate * (x * gate)) + x[:, :, :1, :1]
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
kind, shape = {"attention": (Attention, (1, 12, 32)), "images": (Images, (1, 3, 32, 32))}[sys.argv[2]]
model = kind().eval()
draws = torch.randn(17, *shape)
with torch.no_grad():
    output = model(draws[0])
    traced = torch.jit.trace(torch.export.export(model, (draws[0],)).module(), draws[0], check_trace=False)
torch.jit.save(traced, str(out / "model.torchscript.pt"))
np.savez(out / "inputs.npz", x=draws[0].numpy())
np.savez(out / "reference.npz", y=output.numpy())
np.savez(out / "calibration.npz", x=draws[1:].numpy())
specs = {"inputs": [("x", shape)], "outputs": [("y", tuple(output.shape))]}
facts = {k: [{"name": n, "shape": s, "dtype": "float32"} for n, s in v] for k, v in specs.items()}
(out / "model.json").write_text(json.dumps(facts))
assert torch.isfinite(output).all()
"""
RUN = """\
import sys, json, numpy as np
from torch.jit.mobile import _export_operator_list
import backend
model, artifact = sys.argv[1:]
facts = json.load(open(f"{model}/model.json"))
session = backend.Session(artifact, processor="cpu", threads=1, **facts)
session.set_inputs([np.load(f"{model}/inputs.npz")["x"]])
session.invoke()
actual, expected = session.get_outputs()[0].ravel(), np.load(f"{model}/reference.npz")["y"].ravel()
cosine = float(actual @ expected / np.linalg.norm(actual) / np.linalg.norm(expected))
print(json.dumps([cosine, sorted(_export_operator_list(session._module))]))
"""


def python(environment: Environment, code: str, *arguments: object) -> str:
    assert build(environment).status == "ok"
    path = f"import sys; sys.path.insert(0, {str(MOBILE.folder)!r})\n"
    argv = [str(environment.python), "-c", path + code, *map(str, arguments)]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def environment(name: str) -> Environment:
    return locate(Project(REPOSITORY), name)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The filled folders of both models, as today's PyTorch exports them."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("attention", "images")}
    for name, folder in folders.items():
        (folder / FILES).mkdir()
        (folder / RECORD).write_text(json.dumps({"status": "ok", "reason": None}))
        python(environment("models"), MAKE, folder / FILES, name)
    return folders


@pytest.mark.parametrize(
    ("name", "variant", "least"),
    [
        ("attention", "fp32", 0.999999),
        ("attention", "int8", 0.999),
        ("attention", "int8_dynamic", 0.999),
        ("images", "fp32", 0.999999),
        ("images", "int8", 0.999),
    ],
)
def test_a_model_of_today_is_rewritten_and_right(models, tmp_path, name, variant, least):
    library = f"pytorch_mobile@{MOBILE.default_version}"
    converter = environment(f"{library}.convert")
    assert build(converter).status == "ok"
    model = models[name]
    out = tmp_path / "artifact"
    record = convert(MOBILE, variant, model, model, "torchscript", out)
    assert (record.status, record.reason) == ("ok", None), record
    output = python(environment(f"{library}.run"), RUN, model / FILES, out / FILES)
    cosine, operators = json.loads(output)
    assert cosine > least
    assert not [
        operator for operator in operators if "attention" in operator or "rms_norm" in operator
    ]
    if (name, variant) == ("images", "int8"):
        assert any(operator.startswith("quantized::mul") for operator in operators)
