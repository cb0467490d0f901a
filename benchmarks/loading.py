"""Wall time of loading the results of 10,000 new cells into the warehouse, and of one more.

Made-up results of three measures a cell in the form in which experiments commit them (5 launches of 22
inferences and 10 readings of 5 metrics each), every 10 libraries comparable with each other. Each time a
fresh process loads what is new into a warehouse: the interpreter's start and its imports are counted.
Baselines from the same run: reading and parsing the files alone, and a load that finds nothing new.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median

from .figures import SCRATCH, Baseline, Figure, NotMeasurable, Options, spread
from .processes import VENV_BIN, Completed, run, snakemake_variables
from .synthetic_store import LARGE, TINY, SyntheticStore

ALL_S = 20.0
ONE_S = 1.0
RUNS = 3
SCRIPT = Path(__file__).with_name("load_store.py")


def measure(options: Options) -> list[Figure]:
    size = TINY if options.quick else LARGE
    runs = options.runs or (1 if options.quick else RUNS)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    all_s, one_s, none_s = [], [], []
    with tempfile.TemporaryDirectory(prefix="loading-", dir=SCRATCH) as name:
        folder = Path(name)
        print(f"  writing the results of {size.cells:,} cells ...", flush=True)
        store = SyntheticStore(folder / "cells", size)
        for number in range(runs):
            warehouse = folder / f"{number}.duckdb"
            all_s.append(load(folder, warehouse, store).wall_s)
            none_s.append(load(folder, warehouse, store).wall_s)
        for _ in range(runs):  # into the last one
            store.add_one()
            one_s.append(load(folder, warehouse, store).wall_s)
        parse_s = _parse_s(store)
    samples = f"{size.samples:,} samples"
    return [
        Figure(
            what=f"loading the results of {size.cells:,} new cells with {samples}",
            value=median(all_s),
            unit="s",
            target=ALL_S,
            baselines=[Baseline("reading and parsing the files alone", parse_s, "s")],
            details={"all runs": spread(all_s, "s")},
        ),
        Figure(
            what="loading those of one more",
            value=median(one_s),
            unit="s",
            target=ONE_S,
            baselines=[Baseline("a load that finds nothing new", median(none_s), "s")],
            details={"all runs": spread(one_s, "s")},
        ),
    ]


def load(folder: Path, warehouse: Path, store: SyntheticStore) -> Completed:
    """Bring a warehouse up to date with a store, in a process of its own."""
    request = folder / "wanted.json"
    request.write_text(
        json.dumps({"current": store.current, "devices": store.devices}), encoding="utf-8"
    )
    completed = run(
        [VENV_BIN / "python", SCRIPT, warehouse, store.store.root, request], folder, variables()
    )
    if completed.code != 0:
        raise NotMeasurable(f"the results cannot be loaded: {completed.output[-2000:]}")
    return completed


def variables() -> dict[str, str]:
    return snakemake_variables(PYTHONPATH=str(SCRIPT.parents[1] / "workflow"))


def _parse_s(store: SyntheticStore) -> float:
    started = time.monotonic()
    for path in store.store.files():
        json.loads(path.read_text(encoding="utf-8"))
    return time.monotonic() - started
