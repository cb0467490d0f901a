"""CPU of planning 10,000 cells: all of them stale, and all of them stored.

Stale: a whole `snakemake measured --dry-run` of 1,000 experiments in a farm without results, to the end of
the DAG, in a fresh process each time. Before the plan was frozen and typed it took 84 s.

Stored: the CPU time (user and system, all threads) between the first and the last line of the Snakefile,
in a real `snakemake` that finds nothing to do, in a fresh process each time: imports, validation,
what changed since the last start. Snakemake's own start is outside. The first start after results came
plans every cell again; its time is a figure of its own.

Baselines from the same run: a farm with 30 cells, and a whole Snakemake with an empty Snakefile.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from .figures import Baseline, Figure, NotMeasurable, Options, spread
from .processes import VENV_BIN, run, snakemake_variables
from .synthetic_farm import Size, SyntheticFarm

LARGE = Size(models=20, versions=10, devices=50)
SMALL = Size(models=3, versions=10, devices=1)
STALE_S = 15.0
STORED_S = 0.5
#: A store that was written to more recently is not remembered (see cellfarm.planning.unchanged).
SETTLED_S = 4.0
RUNS = 5


def measure(options: Options) -> list[Figure]:
    size = Size(models=2, versions=2, devices=3) if options.quick else LARGE
    runs = options.runs or (1 if options.quick else RUNS)
    with tempfile.TemporaryDirectory(prefix="cellfarm-planning-") as folder:
        large = SyntheticFarm(Path(folder, "large"), size)
        small = SyntheticFarm(Path(folder, "small"), SMALL)
        empty = Path(folder, "empty")
        empty.mkdir()
        (empty / "Snakefile").write_text("rule all:\n    input: []\n", encoding="utf-8")
        for farm in (large, small):
            farm.dry_run()  # compiles the farm's byte code
        stale: dict[str, list[float]] = {"large": [], "small": []}
        stale_wall_s = []
        for _ in range(runs):
            for name, farm in (("large", large), ("small", small)):
                completed, _ = farm.dry_run()
                stale[name].append(completed.cpu_s)
                if name == "large":
                    stale_wall_s.append(completed.wall_s)
        print(f"  filling the stores of {size.cells:,} and {SMALL.cells} cells ...", flush=True)
        started = time.monotonic()
        large.fill()
        small.fill()
        print(f"  filled in {time.monotonic() - started:.0f} s; {runs} runs of each", flush=True)
        if options.profile:
            print(large.profile())
        time.sleep(SETTLED_S)
        _, first_inside_s = large.snakemake()
        small.snakemake()
        inside: dict[str, list[float]] = {"large": [], "small": []}
        cpu_s: dict[str, list[float]] = {"large": [], "small": [], "empty": []}
        wall_s = []
        for _ in range(runs):
            for name, farm in (("large", large), ("small", small)):
                completed, inside_s = farm.snakemake()
                inside[name].append(inside_s)
                cpu_s[name].append(completed.cpu_s)
                if name == "large":
                    wall_s.append(completed.wall_s)
            completed = run([VENV_BIN / "snakemake", "--cores", "1"], empty, snakemake_variables())
            if completed.code != 0:
                raise NotMeasurable(f"an empty Snakefile fails: {completed.output[-2000:]}")
            cpu_s["empty"].append(completed.cpu_s)
    experiments = size.models * size.devices
    return [
        Figure(
            what=f"CPU of planning {size.cells:,} stale cells in {experiments:,} experiments, with the DAG",
            value=median(stale["large"]),
            unit="s",
            target=STALE_S,
            baselines=[
                Baseline(f"the same with {SMALL.cells} cells", median(stale["small"]), "s"),
                Baseline("snakemake with an empty Snakefile", median(cpu_s["empty"]), "s"),
            ],
            details={"all runs": spread(stale["large"], "s"), "wall": spread(stale_wall_s, "s")},
        ),
        Figure(
            what=f"CPU inside the Snakefile, {size.cells:,} cells, nothing stale",
            value=median(inside["large"]),
            unit="s",
            target=STORED_S,
            baselines=[
                Baseline(f"the same with {SMALL.cells} cells", median(inside["small"]), "s"),
            ],
            details={
                "all runs": spread(inside["large"], "s"),
                "the first start after results came": f"{first_inside_s:.3g} s",
            },
        ),
        Figure(
            what="CPU of the whole snakemake",
            value=median(cpu_s["large"]),
            unit="s",
            baselines=[
                Baseline(f"the same with {SMALL.cells} cells", median(cpu_s["small"]), "s"),
                Baseline("snakemake with an empty Snakefile", median(cpu_s["empty"]), "s"),
            ],
            details={"all runs": spread(cpu_s["large"], "s"), "wall": spread(wall_s, "s")},
        ),
    ]
