"""ONNX to MNN, and from there to 8 bit."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellfarm_convert import Unsupported

CONVERTER_TIMEOUT_S = 1800
# The command-line tools of the wheel report usage over the net and install packages to do so. They
# are wrappers around this compiled module. A process of its own: the module ends a failed
# conversion without an exception, or with a signal, and only its output tells.
_TOOL = "import sys, _tools; getattr(_tools, sys.argv[1])(sys.argv[1:])"
_NOT_SUPPORTED = re.compile(r"Not Support:?\s*(?P<names>.+)")
#: mnnconvert gives every file a random number of its own, a string of 36 characters.
_UUID = re.compile(rb"(?<=\x24\0\0\0)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\0)")
_NO_UUID = b"00000000-0000-0000-0000-000000000000"
#: What mnnconvert is told beyond the files.
_OPTIONS = {
    "fp32": [],
    "fp16": ["--fp16"],
    "int8": [],  # quantised afterwards
    "int8_weights": ["--weightQuantBits", "8"],
}


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.mnn``, or ``model.<variant>.mnn``: the back end knows a variant by this name.

    Raises:
        Unsupported: MNN's converter names operators that it does not have, or its quantiser cannot be given
            the model's inputs.
        RuntimeError: the converter or the quantiser failed.
    """
    with tempfile.TemporaryDirectory(prefix="mnn-") as folder:
        converted = Path(folder, "model.mnn")
        arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(converted)]
        code, log = _run("mnnconvert", [*arguments, "--bizCode", "cellfarm", *_OPTIONS[variant]])
        refused = unsupported_operators(log)
        if refused:
            raise Unsupported(f"MNN has no operator {', '.join(refused)}")
        # The converter returns True and status 0 after "Converted Failed!".
        if code != 0 or "Converted Success" not in log or not converted.is_file():
            raise RuntimeError(f"mnnconvert ended with status {code}: {_tail(log)}")
        if variant == "int8":
            from conversion import int8  # type: ignore[attr-defined]

            config = int8.write_samples(Path(folder), Path(model["calibration"]), model["inputs"])
            original, converted = converted, Path(folder, "quantised.mnn")
            code, log = _run("mnnquant", [str(original), str(converted), str(config)])
            if code != 0 or "Quantize model done!" not in log or not converted.is_file():
                raise RuntimeError(f"mnnquant ended with status {code}: {_tail(log)}")
            # It says so, too, when it quantised nothing.
            if not int8.quantised_operators(converted):
                raise Unsupported("mnnquant quantises none of the model's operators")
        name = "model.mnn" if variant == "fp32" else f"model.{variant}.mnn"
        # The same source must make the same artifact.
        (out / name).write_bytes(_UUID.sub(_NO_UUID, converted.read_bytes(), count=1))


def unsupported_operators(log: str) -> list[str]:
    """The operators that mnnconvert's output names as not supported, sorted."""
    names: set[str] = set()
    for found in _NOT_SUPPORTED.finditer(log):
        names.update(name for name in re.split(r"[\s,|]+", found["names"]) if name)
    return sorted(names)


def _run(tool: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a tool of MNN; returns its status and what it printed, without overwritten lines."""
    done = subprocess.run(
        [sys.executable, "-c", _TOOL, tool, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=CONVERTER_TIMEOUT_S,
        check=False,
    )
    # A progress bar starts its line anew with a carriage return.
    lines = done.stdout.decode(errors="replace").split("\n")
    log = "\n".join(line.rsplit("\r", 1)[-1] for line in lines)
    print(log)
    return done.returncode, log


def _tail(log: str) -> str:
    return " | ".join(log.strip().splitlines()[-3:])
