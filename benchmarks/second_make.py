"""Wall time of `make` when nothing changed since the last one.

In this checkout, as it is: a run must have finished before. Baselines from the same run:
`snakemake --version`, and `snakemake` with an empty Snakefile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from .figures import REPOSITORY, Baseline, Figure, NotMeasurable, Options, spread
from .processes import VENV_BIN, Completed, run, snakemake_variables

TARGET_S = 3.0
RUNS = 5
SNAKEMAKE = VENV_BIN / "snakemake"
IDLE = "nothing to measure"


def measure(options: Options) -> list[Figure]:
    _require_finished_run()
    runs = options.runs or (1 if options.quick else RUNS)
    make: list[Completed] = []
    empty: list[Completed] = []
    version: list[Completed] = []
    with tempfile.TemporaryDirectory(prefix="cellfarm-empty-") as folder:
        Path(folder, "Snakefile").write_text("rule all:\n    input: []\n", encoding="utf-8")
        for _ in range(runs):
            make.append(_good(["make"], REPOSITORY))
            if IDLE not in make[-1].output:
                raise NotMeasurable(f"make had something to do:\n{make[-1].output[-2000:]}")
            empty.append(_good([SNAKEMAKE, "--cores", "1"], Path(folder)))
            version.append(_good([SNAKEMAKE, "--version"], Path(folder)))
    return [
        Figure(
            what="wall time of a second `make`",
            value=median(result.wall_s for result in make),
            unit="s",
            target=TARGET_S,
            baselines=[
                Baseline(
                    "snakemake with an empty Snakefile",
                    median(result.wall_s for result in empty),
                    "s",
                ),
                Baseline("snakemake --version", median(result.wall_s for result in version), "s"),
            ],
            details={
                "all runs": spread([result.wall_s for result in make], "s"),
                "CPU": spread([result.cpu_s for result in make], "s"),
            },
        )
    ]


def _require_finished_run() -> None:
    """Check with a dry run: `make` itself would start to measure.

    Raises:
        NotMeasurable: there is something to set up, to measure or to report.
    """
    variables = snakemake_variables()
    setup = run(["make", "--question", ".venv/.run-ready"], REPOSITORY, variables)
    dry = run([SNAKEMAKE, "--dry-run"], REPOSITORY, variables)
    # With nothing to do, `all` is the only job: it then has neither input nor output.
    if setup.code != 0 or dry.code != 0 or IDLE not in dry.output or "rule report" in dry.output:
        raise NotMeasurable("this checkout has no finished run of its config; run `make` first")


def _good(argv: list[str | Path], folder: Path) -> Completed:
    completed = run(argv, folder, snakemake_variables())
    if completed.code != 0:
        raise NotMeasurable(f"{argv[0]} ended with {completed.code}: {completed.output[-2000:]}")
    return completed
