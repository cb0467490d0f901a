"""What Vega's engine makes: the script that draws charts in the page, and the figures as files.

In processes of its own: the engine holds Python's lock, for as long as half of the report takes.
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
    """The script, which leaves the three names behind and no other.

    Raises:
        subprocess.CalledProcessError: the engine ended with an error, which stands on standard error.
    """
    # An HTML parser reads \r\n as \n, and the policy's digest must be of what it reads.
    text = _run("script", vega_lite_version).replace("\r\n", "\n").replace("\r", "\n")
    return f"(() => {{{safe_script(text)}\n}})();"


def safe_script(text: str) -> str:
    """No literal in a script may end its element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def draw(figures: Mapping[str, dict[str, Any]], folder: Path, vega_lite_version: str) -> None:
    """Write Vega-Lite specifications as `<name>.svg` and `<name>.png`.

    Raises:
        subprocess.CalledProcessError: the engine refuses one; what it says stands on standard error.
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
    done = subprocess.run(argv, input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()
