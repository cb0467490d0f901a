"""The page: a single HTML file that loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from cellfarm.analysis.ranking import Ranking, rank, ranks
from cellfarm.base.files import write_atomically
from cellfarm.report import charts, data, figures, heading, winners
from cellfarm.report.answers import Table, answer_sets
from cellfarm.report.breakdowns import PHASES
from cellfarm.report.drawing import drawing_script
from cellfarm.report.embedding import packed, packed_numbers, payload
from cellfarm.report.findings import findings
from cellfarm.report.further import further
from cellfarm.report.palette import PHASE_COLOURS, library_colours, operator_colours
from cellfarm.report.panels import CHART_VALUES, Arrangement, arrange
from cellfarm.report.subjects import subjects
from cellfarm.report.winners import Matrix
from cellfarm.report.wording import count
from cellfarm.warehouse.exporting import VIEWS, write_views

_HERE = Path(__file__).parent
_SCRIPTS = (
    *("page.js", "filters.js", "tables.js", "metrics.js", "views.js", "chart.js", "sections.js"),
    *("table.js", "samples.js", "cell.js"),
)
#: The filters of the page. The first are always offered, the others if their column varies.
FILTERS = ("device", "library", "model", "variant", "processor", "protocol", "threads", "status")
ALWAYS_FILTERS = frozenset(FILTERS[:5])
#: Chart -> (heading, text).
CHART_TEXTS = {
    "latency": (
        "Warm latency",
        "The median time of one inference once the library has warmed up, fastest first. The bar "
        "is the 95 % interval of the median over launches; a bold number is a win or a tie.",
    ),
    "cold-start": (
        "Cold start",
        "From starting a fresh process to its first answer, phase by phase: medians over launches. "
        "Upper bar: the artifact is in the page cache; lower bar, where measured: it was evicted "
        "before. The number is the whole, the line its 95 % interval. Libraries' own files are in "
        "the page cache either way.",
    ),
    "operators": (
        "Operators",
        "The time of an inference by type of operator, at the fewest threads, from a launch with "
        "the library's profiler on, which no latency comes from. The upright line is the latency "
        "without it; the number is the operators' sum and how far that is off the latency. More "
        "than 15 % off, the parts are not to be relied on. No interval.",
    ),
    "sustained": (
        "Continuous load",
        "Throughput while inferences follow one another for minutes, in windows of at least 5 s: "
        "median over launches. Dashed: the level it settles at.",
    ),
    "memory": (
        "Peak memory",
        "The most memory that the process held resident, interpreter and library included; no "
        "interval.",
    ),
    "error": (
        "Numeric error",
        "The largest absolute difference from the reference output, on a logarithmic axis, least "
        "first; ◆ is exactly zero. Deterministic: no interval. The tooltip has the cosine.",
    ),
}


def write_report(warehouse: Path, out_dir: Path) -> Path:
    """Write `out_dir/index.html`, `out_dir/charts/<name>.svg|png` and `out_dir/data/<view>.parquet`.

    Files are replaced as a whole, so that a reader never sees a part.

    Returns:
        The path of the page.

    Raises:
        UserError: the warehouse is missing or unreadable, another version made it, or the folder of the
            data cannot be written.
        OSError: `out_dir` cannot be written.
    """
    with ThreadPoolExecutor() as pool:  # its three tasks hardly need Python's lock
        script = pool.submit(drawing_script, figures.vega_lite_version())
        measured = data.read(warehouse)
        exported = pool.submit(write_views, warehouse, out_dir / "data", version("cellfarm"))
        rankings = rank(measured.cells, measured.ratios)
        flagged = rank(measured.cells, measured.ratios, flagged=True)
        arrangement = arrange(measured.cells, rankings, flagged)
        specs = charts.specifications(arrangement)
        tables, further_figures = further(warehouse, arrangement)
        drawn = figures.specifications(arrangement, specs, rankings) | further_figures
        written = pool.submit(figures.write, drawn, out_dir / "charts", arrangement)
        page = render(
            measured, arrangement, specs, (rankings, flagged), list(drawn), script.result(), tables
        )
        exported.result()
        written.result()
    target = out_dir / "index.html"
    write_atomically(target, page, durable=False)
    return target


def render(
    measured: data.Measurements,
    arrangement: Arrangement,
    specs: dict[str, dict[str, Any]],
    rankings: tuple[Sequence[Ranking], Sequence[Ranking]],
    written: Sequence[str],
    script: str,
    further_tables: Sequence[Table] = (),
) -> str:
    """The page's HTML.

    Args:
        rankings: without and with flagged cells.
        script: see cellfarm.report.drawing.
        further_tables: see cellfarm.report.further.
    """
    scripts = [script, *((_HERE / name).read_text("utf-8") for name in _SCRIPTS)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cells = arrangement.cells
    sentences = findings(measured.cells, rankings[0])
    colours = library_colours(arrangement.labels)
    panels = subjects(measured, rankings, environment)
    return environment.get_template("template.html.j2").render(
        scripts=scripts,
        csp=_content_security_policy(scripts),
        css=(_HERE / "page.css").read_text("utf-8"),
        lead=sentences[0],
        more=sentences[1:],
        cells=cells,
        statuses=heading.statuses(cells),
        ranked=sum(1 for cell in cells if ranks(cell)),
        answers=answer_sets(measured.cells, rankings),
        further=further_tables,
        devices=heading.devices(measured),
        libraries=heading.libraries(arrangement),
        colours=colours,
        class_of={label: position for position, label in enumerate(colours)},
        protocols=sorted({cell["protocol"] for cell in cells if cell["protocol"]}),
        dates=heading.dates(cells),
        matrices=_different([winners.build(arrangement, ranking_set) for ranking_set in rankings]),
        settings=arrangement.settings,
        filters=[
            name
            for name in FILTERS
            if name in ALWAYS_FILTERS or len({cell[name] for cell in cells}) > 1
        ],
        charts={name: text for name, text in CHART_TEXTS.items() if name in specs},
        chart_cells={
            name: sum(cell[CHART_VALUES[name]] is not None for cell in cells)
            for name in CHART_TEXTS
        },
        legends=_legends(arrangement),
        calibrated=sum(device.launches for device in measured.calibration.values()),
        count=count,
        made=datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC"),
        files=VIEWS,
        packed={
            "report": packed(payload(measured, arrangement, specs, written, panels)),
            "details": packed(measured.details.as_dict()),
            "samples": packed_numbers(measured.details.ms),
        },
    )


def _content_security_policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, and nothing is loaded.

    Vega compiles its expressions, hence unsafe-eval; its tooltip adds a style element.
    """
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {digests} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _different(matrices: Sequence[Matrix]) -> list[Matrix]:
    """Both matrices, or only the first if flagged cells change nothing."""
    without_flagged, with_flagged = matrices
    if with_flagged.rows == without_flagged.rows:
        return [without_flagged]
    return [without_flagged, with_flagged]


def _legends(arrangement: Arrangement) -> dict[str, list[tuple[str, str, tuple[str, str]]]]:
    """Chart -> (name, CSS class, colours) of what it distinguishes by colour alone."""
    phases = list(zip(PHASES.values(), PHASE_COLOURS, strict=True))
    if not any(cell["cold_other_ms"] or cell["cold_cache_other_ms"] for cell in arrangement.cells):
        phases.pop()
    times = [cell["op_ms"] for cell in arrangement.cells if cell["op_ms"]]
    operators = [
        (name, f"op-{i}", pair)
        for i, (name, pair) in enumerate(operator_colours(arrangement.operator_types).items())
        if any(ms[i] > 0 for ms in times)
    ]
    libraries = library_colours(arrangement.labels).items()
    return {
        "cold-start": [(name, f"phase-{i}", pair) for i, (name, pair) in enumerate(phases)],
        "operators": operators,
        "sustained": [(name, f"lib-{i}", pair) for i, (name, pair) in enumerate(libraries)],
    }
