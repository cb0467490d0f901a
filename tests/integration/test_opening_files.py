"""A user's file is opened as what it is, or refused; nothing in it is run but TorchScript."""

from __future__ import annotations

from tests.support.models_python import python

UNREADABLE = """
from pathlib import Path
from protocol import RecipeError
from user_files import open_file
for suffix in ("onnx", "tflite", "pt2", "pt"):
    file = Path(sys.argv[1], f"a.{suffix}")
    file.write_bytes(b"no model")
    try:
        open_file(file)
    except RecipeError as error:
        assert f"a.{suffix} cannot be read" in str(error), str(error)
    else:
        raise AssertionError(suffix)
"""


def test_a_file_of_another_kind_is_said(tmp_path):
    completed = python("models", UNREADABLE, str(tmp_path))
    assert completed.returncode == 0, completed.stderr[-3000:]


STATE_DICT = """
import torch
from pathlib import Path
from protocol import RecipeError
from user_files import open_file
file = Path(sys.argv[1], "weights.pt")
torch.save(torch.nn.Linear(2, 2).state_dict(), file)
try:
    open_file(file)
except RecipeError as error:
    print(error)
"""


def test_weights_alone_are_told_from_a_model(tmp_path):
    completed = python("models", STATE_DICT, str(tmp_path))
    assert "weights alone" in completed.stdout and "torch.jit.save" in completed.stdout, (
        completed.stderr[-3000:]
    )


#: Programs whose archives contain code that torch.export.load would run.
CODE = """
import io, json, os, pickle, torch, zipfile
from pathlib import Path
from protocol import RecipeError
from user_files import open_file

folder = Path(sys.argv[1])
flag = folder / "flag"

class Code:
    def __reduce__(self):
        return os.mkdir, (str(flag),)

buffer = io.BytesIO()
torch.save(Code(), buffer)
good = folder / "good.pt2"
torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), good)
assert [value.name for value in open_file(good).inputs] == ["input"]

def pickled(kind, name):
    def alter(members):
        (config,) = [member for member in members if member.endswith(kind + "_config.json")]
        payload = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
        document = json.loads(members[config])
        document["config"]["more"] = payload
        members[config] = json.dumps(document).encode()
        root = config.split("/")[0]
        members[f"{root}/data/{kind.replace('model_', '')}/{name}"] = (
            pickle.dumps(Code()) if name.startswith("opaque") else buffer.getvalue()
        )
    return alter

def sample_inputs(content):
    def alter(members):
        (name,) = [member for member in members if "sample_inputs" in member]
        members[name] = content
    return alter

def compiled(members):
    root = next(iter(members)).split("/")[0]
    members[f"{root}/data/aotinductor/model/code.so"] = b"none"

changes = {
    "sample": sample_inputs(buffer.getvalue()),
    "raw sample": sample_inputs(pickle.dumps(Code())),
    "weight": pickled("model_weights", "weight_9"),
    "constant": pickled("model_constants", "tensor_9"),
    "custom": pickled("model_constants", "custom_obj_9"),
    "opaque": pickled("model_constants", "opaque_obj_9"),
    "compiled": compiled,
}
for name, alter in changes.items():
    with zipfile.ZipFile(good) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    alter(members)
    file = folder / f"{name}.pt2"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    try:
        open_file(file)
    except RecipeError as error:
        print(name, "|", error)
    else:
        raise AssertionError(f"{name} was taken")
    assert not flag.exists(), name
"""


def test_nothing_in_a_program_is_run(tmp_path):
    completed = python("models", CODE, str(tmp_path))
    assert completed.returncode == 0, completed.stderr[-3000:]
    reasons = dict(line.split(" | ") for line in completed.stdout.splitlines() if " | " in line)
    assert len(reasons) == 7
    for name in ("opaque", "custom", "compiled"):
        assert "objects that only code in it could restore" in reasons[name], reasons[name]
