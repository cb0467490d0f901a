"""The commands that people type. Heavy imports wait until their command runs."""

from __future__ import annotations

import errno
import math
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..base.errors import CellfarmError, UserError
from ..base.project import Project
from . import devices, jobs, models

app = typer.Typer(
    name="cellfarm",
    help="Benchmark mobile deep-learning libraries on a farm of devices. `make` or `snakemake` "
    "measures; these commands look at what was measured and at what can be.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("job", hidden=True)(jobs.job)
app.add_typer(models.app, name="models")
app.add_typer(devices.app, name="devices")

ConfigOption = Annotated[
    Path | None, typer.Option("--configfile", help="The config; by default config/config.yaml.")
]


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


class ComparisonFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"


class AnswerFormat(StrEnum):
    table = "table"
    json = "json"


class Processor(StrEnum):
    cpu = "cpu"
    gpu = "gpu"
    npu = "npu"


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help='One SQL query, e.g. "FROM cells".')],
    format: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")] = None,
) -> None:
    """Read the warehouse with SQL (views: cells, samples, operators, conditions, history, devices)."""
    from ..warehouse import query as run_query

    text = run_query(Project.here().warehouse, sql, format.value, output)
    if text:
        sys.stdout.write(text)


@app.command()
def summary(
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Rank flagged cells too, marked.")
    ] = False,
) -> None:
    """Print the ranking per model, what failed, and where the report is."""
    from .summary import print_summary

    print_summary(Project.here(), flagged)


@app.command()
def support(
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a page.")] = False,
) -> None:
    """Print what runs: models x libraries x variants, with the reason for whatever does not."""
    from .support import print_support

    print_support(Project.here(), markdown)


@app.command()
def doctor(configfile: ConfigOption = None) -> None:
    """Say what this machine and the config's devices can run, and what is missing, with the way out."""
    from .doctor import print_report

    raise typer.Exit(print_report(Project.here(), configfile))


@app.command()
def farm(
    once: Annotated[bool, typer.Option("--once", help="Print the table once and end.")] = False,
) -> None:
    """Watch the farm: what every device measures, how far it is, how warm, what is wrong."""
    from .farm import watch

    watch(Project.here(), once)


@app.command()
def export(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where the files go; reports/export of the project by default."),
    ] = None,
) -> None:
    """Write every view of the warehouse as Parquet, with a data dictionary and a citation."""
    from importlib.metadata import version

    from ..warehouse.exporting import export as write

    project = Project.here()
    target = folder or project.root / "reports/export"
    for path in write(project.warehouse, target, version("cellfarm")):
        print(path if folder else project.relative(path))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="library@version, a warehouse (.duckdb), a config "
                                              "(.yaml), or a run of `cellfarm runs`.")],
    second: Annotated[str, typer.Argument(help="What is compared with it.")],
    threshold: Annotated[float, typer.Option(help="In percent: a slowdown that lies wholly above it "
                                                  "is a regression.", min=0, max=1000)] = 5.0,
    format: Annotated[ComparisonFormat, typer.Option(help="How to print it.")]
    = ComparisonFormat.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Compare flagged cells too.")] = False,
) -> None:  # fmt: skip
    """Tell which cells are slower, faster or the same on a second side; ends with 1 after a regression."""
    from .compare import print_comparison

    regressions = print_comparison(
        Project.here(), first, second, threshold / 100, format.value, output, flagged
    )
    raise typer.Exit(1 if regressions else 0)


@app.command()
def series(
    library: Annotated[str | None, typer.Option(help="Only this library.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Take flagged cells too.")] = False,
    points: Annotated[bool, typer.Option("--points", help="Print every version.")] = False,
) -> None:
    """Tell where libraries became slower or faster over their versions, and for how long."""
    from .series import print_series

    print_series(Project.here(), library, model, flagged, points)


@app.command()
def operators(model: Annotated[str, typer.Argument(help="A model of the last run.")]) -> None:
    """Print the same operators of a model in each library, and what the best of each would give."""
    from .operators import print_operators

    print_operators(Project.here(), model)


@app.command()
def runs() -> None:
    """List the runs in the warehouse: their names for `cellfarm compare`, when, and of how many cells."""
    from .compare import print_runs

    print_runs(Project.here())


@app.command()
def recommend(
    model: Annotated[str | None, typer.Option(help="A name in models/, or an ONNX file.")] = None,
    device: Annotated[str | None, typer.Option(help="A name in devices/.")] = None,
    variant: Annotated[str | None, typer.Option(help="By default any of them.")] = None,
    processor: Annotated[Processor, typer.Option(help="Where it is to run.")] = Processor.cpu,
    threads: Annotated[int | None, typer.Option(help="By default the most measured.", min=1,
                                               max=1024)] = None,
    size_limit: Annotated[float | None, typer.Option(help="Of the artifact, in MB.", min=0)] = None,
    error_limit: Annotated[float | None, typer.Option(help="Of 1 - cosine with FP32.", min=0)] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Take flagged cells, too.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="What choosing costs, by leaving each "
                                           "model and each device out.")] = False,
    format: Annotated[AnswerFormat, typer.Option(help="How to print it.")] = AnswerFormat.table,
) -> None:  # fmt: skip
    """Name the library for a model on a device: as measured, or predicted with its expected regret."""
    from ..selection.questions import Question
    from .recommend import print_evaluation, print_recommendation

    if not evaluate and not (model and device):
        raise UserError("recommend needs --model and --device, or --evaluate")
    unused = (model, device, threads, size_limit, error_limit)
    if evaluate and any(option is not None for option in unused):
        raise UserError("--evaluate takes --variant, --processor, --flagged and --format only")
    if not all(math.isfinite(limit or 0) for limit in (size_limit, error_limit)):
        raise UserError("--size-limit and --error-limit: expected finite numbers")
    question = Question(
        model or "",
        device or "",
        variant,
        processor.value,
        threads,
        size_limit,
        error_limit,
        flagged,
    )
    print_answer = print_evaluation if evaluate else print_recommendation
    print_answer(Project.here(), question, format.value)


@app.command()
def rebuild() -> None:
    """Make the warehouse anew from the store, with the same content."""
    from ..snakemake.pipeline import latest_current
    from ..store.results import Store
    from ..warehouse import rebuild as rebuild_warehouse
    from ..warehouse import surroundings

    project = Project.here()
    current = latest_current(project)
    devices = surroundings.devices(project, current.devices)
    models = surroundings.models(project)
    loaded = rebuild_warehouse(
        project.warehouse, Store(project.cells), current.results, devices, models
    )
    print(f"{project.relative(project.warehouse)}: rebuilt from {loaded.added} results")


@app.command()
def retry(
    configfile: ConfigOption = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Which to retry: failed, timeout, unsupported, wrong.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model.")] = None,
    library: Annotated[list[str] | None, typer.Option(help="Only this library.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device.")] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Cells that a flag keeps from ranking, instead.")
    ] = False,
) -> None:
    """Have failed cells measured again by the next `make` or `snakemake` (by default failed and
    timeout). Their old results stay in the history."""
    from ..planning.retrying import set_aside

    statuses = status or ([] if flagged else ["failed", "timeout"])
    count = set_aside(Project.here(), configfile, statuses, model, library, device, flagged)
    config = configfile or "config/config.yaml"
    print(f"{count} cells of {config} will be measured again by the next `make` or `snakemake`.")


@app.command()
def lock(
    library: Annotated[
        list[str] | None, typer.Argument(help="Libraries as name or name@version; all by default.")
    ] = None,
) -> None:
    """Make the locks in envs/ anew: of the models' environment and of the given libraries."""
    from ..envs.environments import make_locks

    for path in make_locks(Project.here(), library or []):
        print(path)


@app.command(
    "virtual",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def virtual(context: typer.Context) -> None:
    """Virtual devices, to try a farm without one; nothing they measure is a result."""
    # A program of its own: the package does not import its test equipment.
    argv = [sys.executable, "-m", "cellfarm.virtual", *context.args]
    os.execv(argv[0], argv)  # noqa: S606


def main() -> None:
    """Run the command line."""
    run_app(app)


def run_app(application: typer.Typer, name: str | None = None) -> None:
    """Run an application; print an error of cellfarm's as one message, and exit with its code.

    Args:
        name: the program's name in the help.
    """
    try:
        code = application(standalone_mode=False, prog_name=name)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
    except CellfarmError as error:
        print(f"cellfarm: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"cellfarm: {error.strerror}", file=sys.stderr)
        # A normal exit would flush its buffers, and fail to write once more.
        os._exit(1)
    except (KeyboardInterrupt, typer.Abort):
        print("cellfarm: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:  # typer's own errors know how to show themselves
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    raise SystemExit(code if isinstance(code, int) else 0)
