"""Load a store into a warehouse: `load_store.py WAREHOUSE CELLS WANTED`. A script, for a fresh process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cellfarm.store.results import Store
from cellfarm.warehouse import load


def main() -> None:
    warehouse, cells, request = map(Path, sys.argv[1:])
    document = json.loads(request.read_text(encoding="utf-8"))
    loaded = load(warehouse, Store(cells), document["current"], document["devices"])
    if loaded.unreadable:
        sys.exit(f"not readable: {loaded.unreadable[:3]}")


if __name__ == "__main__":
    main()
