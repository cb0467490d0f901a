"""Runs a library's convert.py in its conversion environment: `python worker.py REQUEST.json`.

It runs from a copy of the code, with convert.py and its imports beside it. Standard library only. The last
line on standard output is a JSON object {"status": "ok" | "unsupported" | "failed", "reason": ...}; all other
output goes to standard error.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from cellfarm_convert import Unsupported  # type: ignore[import-not-found]

REASON_LENGTH = 300


def main(path: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    status, reason = "ok", None
    try:
        import convert  # type: ignore[import-not-found]

        convert.convert(
            Path(request["source"]), Path(request["out"]), request["precision"], request["model"]
        )
    except Unsupported as error:
        status, reason = "unsupported", str(error)
    except BaseException as error:
        traceback.print_exc()
        status, reason = "failed", f"{type(error).__name__}: {error}"
    short = " ".join(reason.split())[:REASON_LENGTH] if reason else None
    answers.write(json.dumps({"status": status, "reason": short}) + "\n")
    answers.flush()
    sys.stderr.flush()
    os._exit(0)  # converters leave threads behind, and crash on the way out


if __name__ == "__main__":
    main(sys.argv[1])
