"""What Vega's engine makes: the script that draws charts in the page, and the figures as files.

It runs in processes of its own: it holds Python's lock for half as long as the report takes.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellfarm.base.files import write_atomically

_ENGINE = Path(__file__).with_name("engine.py")


def drawing_script(vega_lite_version: str) -> str:
    """The script with Vega, Vega-Lite and vega-embed; it leaves no other global names.

    Raises:
        subprocess.CalledProcessError: the engine failed, with its message on standard error.
    """
    # An HTML parser turns \r\n into \n, and the policy's digest must match its result.
    text = _run("script", vega_lite_version).replace("\r\n", "\n").replace("\r", "\n")
    return f"(() => {{{safe_script(text)}\n}})();"


def safe_script(text: str) -> str:
    """A script without literals that would end its element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def draw(figures: Mapping[str, dict[str, Any]], folder: Path, vega_lite_version: str) -> None:
    """Write Vega-Lite specifications as `<name>.svg` and `<name>.png`.

    Raises:
        subprocess.CalledProcessError: the engine refuses a figure, with its message on standard error.
        OSError: `folder` cannot be written.
    """
    if not figures:
        return
    drawn = json.loads(_run("figures", vega_lite_version, json.dumps(figures)))
    for name, images in drawn.items():
        write_atomically(folder / f"{name}.svg", images["svg"], durable=False)
        write_atomically(folder / f"{name}.png", base64.b64decode(images["png"]), durable=False)


def _run(action: str, vega_lite_version: str, stdin: str = "") -> str:
    argv = [sys.executable, "-P", str(_ENGINE), action, vega_lite_version]
    process = subprocess.run(argv, input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return process.stdout.decode()
