"""TorchScript to ncnn by pnnx."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

PNNX_TIMEOUT_S = 1800
_DTYPES = {"float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "uint8": "u8"}
_PARAM_HEADER_LINES = 2  # the magic number, and the numbers of layers and blobs


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.ncnn.param`` and ``model.ncnn.bin``.

    Raises:
        Unsupported: the graph holds layers that ncnn does not have; they are named.
        RuntimeError: pnnx failed.
    """
    with tempfile.TemporaryDirectory(prefix="pnnx-") as folder:
        # pnnx writes its many results beside its input.
        script = Path(folder, "model.pt")
        shutil.copyfile(source, script)
        shapes = ",".join(_shape(spec) for spec in model["inputs"])
        # fp16=0: by default pnnx halves the weights, which fp32 must not be.
        argv = [_pnnx(), str(script), f"inputshape={shapes}", "fp16=0"]
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PNNX_TIMEOUT_S,
            check=False,
        )
        print(done.stdout)
        param = Path(folder, "model.ncnn.param")
        weights = Path(folder, "model.ncnn.bin")
        if done.returncode != 0 or not param.is_file() or not weights.is_file():
            tail = " | ".join(done.stdout.strip().splitlines()[-3:])
            raise RuntimeError(f"pnnx ended with status {done.returncode}: {tail}")
        # pnnx leaves what it cannot lower in the graph, and ends with status 0.
        unknown = unknown_layers(param.read_text(encoding="utf-8"))
        if unknown:
            raise Unsupported(f"ncnn has no layer {', '.join(unknown)}")
        for path in (param, weights):
            shutil.copyfile(path, out / path.name)


def unknown_layers(param: str) -> list[str]:
    """The layer types of a ``.param`` file that the installed ncnn does not have, sorted."""
    import ncnn

    lines = param.splitlines()[_PARAM_HEADER_LINES:]
    types = {line.split()[0] for line in lines if line.strip()}
    return sorted(kind for kind in types if ncnn.create_layer(kind) is None)


def _pnnx() -> str:
    # The program in the wheel, without importing the package: that would need torch.
    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise ImportError("pnnx is not installed")
    program = Path(spec.origin).with_name("pnnx.exe" if os.name == "nt" else "pnnx")
    return str(program)


def _shape(spec: dict[str, Any]) -> str:
    sizes = ",".join(str(size) for size in spec["shape"])
    return f"[{sizes}]{_DTYPES[spec['dtype']]}"
