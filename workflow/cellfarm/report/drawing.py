"""The script that draws charts in the page: Vega, Vega-Lite and vega-embed in one."""

from __future__ import annotations

import subprocess
import sys

import vl_convert


def drawing_script(vega_lite_version: str) -> str:
    """The script, which leaves the three names behind and no other.

    Bundled in a process of its own: it takes as long as a quarter of the report, and holds Python's lock.
    """
    argv = [sys.executable, "-P", __file__, vega_lite_version]
    source = subprocess.run(argv, capture_output=True, check=True).stdout.decode()
    # An HTML parser reads \r\n as \n, and the policy's digest must be of what it reads.
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return f"(() => {{{safe_script(text)}\n}})();"


def safe_script(text: str) -> str:
    """No literal in a script may end its element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


if __name__ == "__main__":
    bundle = vl_convert.javascript_bundle(vl_version=sys.argv[1])  # type: ignore[call-arg]
    sys.stdout.buffer.write(bundle.encode())
