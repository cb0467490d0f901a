"""Build models and export them: run by the Python of the ``models`` environment.

    python worker.py build REQUEST.json     {"recipe": {...}, "out": "<empty folder>"}
    python worker.py export REQUEST.json    {"format": "onnx" or "torchscript",
                                             "model": "<folder of build>", "out": "<empty folder>"}

The last line on stdout is ``{"status": "ok" | "unsupported" | "failed", "reason": str | null}``;
the exit status is 0 whenever that line was written. It imports nothing of the rest of cellfarm.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from protocol import RecipeError, Unsupported, answer, claim_stdout, shorten

VERBS = ("build", "export")


def handle(verb: str, request: dict[str, Any]) -> None:
    """Do what is asked. The imports stand here: torch's take seconds, and may themselves fail."""
    if verb == "build":
        from building import build

        build(request["recipe"], Path(request["out"]))
    else:
        from exporting import export

        export(request["format"], Path(request["model"]), Path(request["out"]))


def main(arguments: list[str]) -> int:
    """Answer one request; 2 on a wrong command line, else 0."""
    if len(arguments) != 2 or arguments[0] not in VERBS:
        print(__doc__, file=sys.stderr)
        return 2
    stream = claim_stdout()
    verb, path = arguments
    try:
        request = json.loads(Path(path).read_text(encoding="utf-8"))
        handle(verb, request)
    except RecipeError as error:
        answer(stream, "failed", shorten(error))
    except Unsupported as error:
        answer(stream, "unsupported", shorten(error))
    except Exception as error:
        traceback.print_exc()
        answer(stream, "failed", shorten(f"{type(error).__name__}: {error}"))
    else:
        answer(stream, "ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
