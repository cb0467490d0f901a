"""TorchScript (or ONNX) to ncnn by pnnx, and ncnn to 8 bits."""

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
    """Write ``model.ncnn.param`` and ``.bin``, or ``model.<variant>.ncnn.param`` and ``.bin``.

    The names tell the back end the variant.

    Raises:
        Unsupported: ncnn lacks layers of the graph, or at int8 runs none of them in 8 bits.
        RuntimeError: pnnx failed.
    """
    with tempfile.TemporaryDirectory(prefix="pnnx-") as folder:
        converted = Path(folder)
        _run_pnnx(source, converted, variant == "fp16", model)
        if variant == "int8":
            # Imported here, because the other variants must not fail for what only int8 needs.
            from conversion.int8 import make_int8  # type: ignore[import-not-found]

            converted = Path(folder, "int8")
            converted.mkdir()
            make_int8(Path(folder), converted, Path(model["calibration"]), model["inputs"])
        for ending in ("param", "bin"):
            name = "model" if variant == "fp32" else f"model.{variant}"
            shutil.copyfile(converted / f"model.ncnn.{ending}", out / f"{name}.ncnn.{ending}")


def _run_pnnx(source: Path, folder: Path, half: bool, model: dict[str, Any]) -> None:
    """Write ``model.ncnn.param`` and ``model.ncnn.bin`` to `folder`; `half` halves the weights."""
    # pnnx writes its many results beside its input.
    copy = folder / f"model{source.suffix}"
    shutil.copyfile(source, copy)
    shapes = ",".join(_shape(spec) for spec in model["inputs"])
    result = subprocess.run(
        [_pnnx(), str(copy), f"inputshape={shapes}", f"fp16={int(half)}"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=PNNX_TIMEOUT_S,
        check=False,
    )
    print(result.stdout)
    param, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if result.returncode != 0 or not param.is_file() or not weights.is_file():
        tail = " | ".join(result.stdout.strip().splitlines()[-3:])
        raise RuntimeError(f"pnnx ended with status {result.returncode}: {tail}")
    # pnnx leaves operators that it cannot lower in the graph, and ends with status 0.
    unknown = unknown_layers(param.read_text(encoding="utf-8"))
    if unknown:
        raise Unsupported(f"ncnn has no layer {', '.join(unknown)}")


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
