"""ONNX to MNN, and MNN to 8 bits."""

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
# The wheel's command-line tools report usage over the network, and install packages for that. They wrap
# this compiled module. It runs in a separate process, because a failed conversion ends without an
# exception or with a signal, and only its output says so.
_TOOL = "import sys, _tools; getattr(_tools, sys.argv[1])(sys.argv[1:])"
_NOT_SUPPORTED = re.compile(r"Not Support:?\s*(?P<names>.+)")
#: mnnconvert gives every file a random number of its own, a string of 36 characters.
_UUID = re.compile(rb"(?<=\x24\0\0\0)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\0)")
_NO_UUID = b"00000000-0000-0000-0000-000000000000"
#: Options of mnnconvert, apart from the files.
_OPTIONS = {
    "fp32": [],
    "fp16": ["--fp16"],
    "int8": [],  # quantised afterwards
    "int8_weights": ["--weightQuantBits", "8"],
}


def convert(source: Path, out: Path, variant: str, model: dict[str, Any]) -> None:
    """Write ``model.mnn`` or ``model.<variant>.mnn``, which tells the back end the variant.

    Raises:
        Unsupported: MNN's converter lacks operators, or its quantiser cannot read the model's inputs.
        RuntimeError: the converter or the quantiser failed.
    """
    with tempfile.TemporaryDirectory(prefix="mnn-") as folder:
        converted = Path(folder, "model.mnn")
        arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(converted)]
        code, log = _run("mnnconvert", [*arguments, "--bizCode", "cellfarm", *_OPTIONS[variant]])
        unsupported = unsupported_operators(log)
        if unsupported:
            raise Unsupported(f"MNN has no operator {', '.join(unsupported)}")
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
            # It reports success even if it quantised nothing.
            if not int8.quantised_operators(converted):
                raise Unsupported("mnnquant quantises none of the model's operators")
        name = "model.mnn" if variant == "fp32" else f"model.{variant}.mnn"
        # The same source must make the same artifact.
        (out / name).write_bytes(_UUID.sub(_NO_UUID, converted.read_bytes(), count=1))


def unsupported_operators(log: str) -> list[str]:
    """The operators that mnnconvert's log names as unsupported, sorted."""
    names: set[str] = set()
    for match in _NOT_SUPPORTED.finditer(log):
        names.update(name for name in re.split(r"[\s,|]+", match["names"]) if name)
    return sorted(names)


def _run(tool: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a tool of MNN; return its status and its output, without overwritten lines."""
    result = subprocess.run(
        [sys.executable, "-c", _TOOL, tool, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=CONVERTER_TIMEOUT_S,
        check=False,
    )
    # A progress bar overwrites its line after a carriage return.
    lines = result.stdout.decode(errors="replace").split("\n")
    log = "\n".join(line.rsplit("\r", 1)[-1] for line in lines)
    print(log)
    return result.returncode, log


def _tail(log: str) -> str:
    return " | ".join(log.strip().splitlines()[-3:])
