"""Vega's engine as a script: `engine.py script VERSION` or `engine.py figures VERSION`.

It imports nothing of cellfarm: a process that draws should not take a second to begin.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import vl_convert

_PNG_SCALE = 2.0


def bundle(version: str) -> str:
    """Vega, Vega-Lite and vega-embed in one script."""
    return str(vl_convert.javascript_bundle(vl_version=version))  # type: ignore[call-arg]


def figures(specs: dict[str, dict[str, Any]], version: str) -> dict[str, dict[str, str]]:
    """Name -> its SVG, and its PNG in base64, from name -> specification."""
    images = {}
    for name, spec in specs.items():
        svg = vl_convert.vegalite_to_svg(spec, vl_version=version)
        png = vl_convert.svg_to_png(svg, scale=_PNG_SCALE)
        images[name] = {"svg": svg, "png": base64.b64encode(png).decode()}
    return images


if __name__ == "__main__":
    action, vega_lite = sys.argv[1:]
    if action == "script":
        answer = bundle(vega_lite)
    else:
        answer = json.dumps(figures(json.load(sys.stdin.buffer), vega_lite))
    sys.stdout.buffer.write(answer.encode())
