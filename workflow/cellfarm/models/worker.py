"""Build models and export them: run by the Python of the ``models`` environment.

    python worker.py build REQUEST.json     {"recipe": {...}, "out": "<empty folder>",
                                             "files": {"file", "weights" or "labelled": "<path>"}}
    python worker.py describe REQUEST.json  {"file": "<a user's own file>", "out": ...}
    python worker.py export REQUEST.json    {"format": "onnx", "torchscript" or "pt2",
                                             "source": "<file>", "source_format": "pt2",
                                             "model": "<folder of build>", "out": ...}

An export may also run in an environment of its own (see EDGES in cellfarm.conversion.routes).

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

VERBS = ("build", "describe", "export")


def handle(verb: str, request: dict[str, Any]) -> None:
    """Do what is asked. The imports stand here: torch's take seconds, and may themselves fail."""
    out = Path(request["out"])
    if verb == "describe":
        from user_files import describe

        describe(Path(request["file"]), out)
    elif verb == "build":
        _build(request["recipe"], request.get("files", {}), out)
    else:
        _export(request, Path(request["model"]), out)


def _build(recipe: dict[str, Any], files: dict[str, str], out: Path) -> None:
    if recipe["source"] == "file":
        import user_files

        predict = user_files.build(recipe, Path(files["file"]), out)
    else:
        import building

        weights = Path(files["weights"]) if "weights" in files else None
        predict = building.build(recipe, out, weights)
    if "labelled" in files:
        import labelled

        labelled.add(out, Path(files["labelled"]), recipe["labelled"], predict)


def _export(request: dict[str, Any], model: Path, out: Path) -> None:
    source, start = Path(request["source"]), request["source_format"]
    if start == "pt2":
        import exporting

        exporting.export(request["format"], model, out, source)
    else:
        import user_exports

        user_exports.export(source, start, request["format"], model, out)


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
