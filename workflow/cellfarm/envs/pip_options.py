"""The part of pip's configuration that says where packages come from, as options for uv, which ignores it.

The Makefile runs it as a script (`python pip_options.py` prints the options) before anything is
installed: standard library only.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache

#: pip's setting -> uv's option
_OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
}


def uv_options(only: str | None = None) -> list[str]:
    """Options for `uv pip`, such as ["--find-links", "<folder>"]; with `only`, that option alone."""
    options = parse(_pip_config())
    if only is not None:
        pairs = zip(options[::2], options[1::2], strict=True)
        return [part for pair in pairs if pair[0] == only for part in pair]
    return options


def parse(listing: str) -> list[str]:
    """Options from the output of `pip config list`, without duplicates."""
    pairs: list[tuple[str, str]] = []
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if not equals or setting not in _OPTIONS:
            continue
        for address in _text(value).split():
            # uv asks every index for every package and stops at a folder that lacks one.
            if setting == "extra-index-url" and address.startswith("file:"):
                continue
            pairs.append((_OPTIONS[setting], address))
    return [part for pair in dict.fromkeys(pairs) for part in pair]


def _text(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


@cache
def _pip_config() -> str:
    try:
        process = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout


if __name__ == "__main__":
    print(" ".join(uv_options()))
