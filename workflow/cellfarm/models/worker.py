"""Builds, changes, exports and describes models, in the ``models`` environment.

    python worker.py REQUEST.json

The request is a JSON object. ``module`` names the module of this folder that handles it, ``out`` the empty
folder that it fills; the rest is for the module's ``handle(request)``. The modules: build_architecture,
build_file, describe_file, apply_passes, export_<format>_to_<format>. An exporter may run in another
environment (see EDGES in cellfarm.conversion.routes).

The last line on stdout is ``{"status": "ok" | "unsupported" | "failed", "reason": str | null}``;
the exit status is 0 if that line was written. It imports nothing of the rest of cellfarm.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from protocol import RecipeError, Unsupported, answer, claim_stdout, import_named, shorten


def main(arguments: list[str]) -> int:
    """Answer one request; 2 on a wrong command line, else 0."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    stream = claim_stdout()
    try:
        request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        # The import is here because that of torch takes seconds and may fail.
        name = request["module"]
        import_named(name, f"module {name!r}").handle(request)
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
