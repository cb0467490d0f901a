"""ONNX to MNN."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

CONVERTER_TIMEOUT_S = 1800
# The command-line tool of the wheel reports usage over the net and installs packages to do so. It
# is a wrapper around this compiled module. A process of its own: the module ends a failed
# conversion without an exception, and only its output tells.
_CONVERTER = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"
_NOT_SUPPORTED = re.compile(r"Not Support:?\s*(?P<names>.+)")


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.mnn``.

    Raises:
        Unsupported: MNN's converter names operators that it does not have.
        RuntimeError: the converter failed.
    """
    target = out / "model.mnn"
    argv = [
        *(sys.executable, "-c", _CONVERTER),
        *("mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target)),
        *("--bizCode", "cellfarm"),
    ]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=CONVERTER_TIMEOUT_S,
        check=False,
    )
    print(done.stdout)
    refused = unsupported_operators(done.stdout)
    if refused:
        target.unlink(missing_ok=True)
        raise Unsupported(f"MNN has no operator {', '.join(refused)}")
    # The converter returns True and status 0 after "Converted Failed!".
    if done.returncode != 0 or "Converted Success" not in done.stdout or not target.is_file():
        tail = " | ".join(done.stdout.strip().splitlines()[-3:])
        raise RuntimeError(f"mnnconvert ended with status {done.returncode}: {tail}")


def unsupported_operators(log: str) -> list[str]:
    """The operators that mnnconvert's output names as not supported, sorted."""
    names: set[str] = set()
    for found in _NOT_SUPPORTED.finditer(log):
        names.update(name for name in re.split(r"[\s,|]+", found["names"]) if name)
    return sorted(names)
