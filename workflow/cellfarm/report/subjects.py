"""The panels of a model or a device: findings and tables of its cells alone."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from cellfarm.analysis.ranking import Ranking, ranks
from cellfarm.report import heading
from cellfarm.report.answers import answer_sets
from cellfarm.report.data import Measurements
from cellfarm.report.findings import findings
from cellfarm.report.wording import count

KINDS = ("model", "device")


def subjects(
    measured: Measurements, rankings: Sequence[Sequence[Ranking]], environment: jinja2.Environment
) -> dict[str, str]:
    """The HTML of every model and device that has cells: `model/resnet50` -> its panel.

    Args:
        rankings: without and with flagged cells.
    """
    template = environment.get_template("subject.html.j2")
    panels = {}
    for kind in KINDS:
        for name in sorted({str(cell[kind]) for cell in measured.cells}):
            cells = [cell for cell in measured.cells if cell[kind] == name]
            subject_rankings = [
                [ranking for ranking in ranking_set if getattr(ranking, kind) == name]
                for ranking_set in rankings
            ]
            sentences = findings(cells, subject_rankings[0])
            panels[f"{kind}/{name}"] = template.render(
                kind=kind,
                name=name,
                lead=sentences[0],
                more=sentences[1:],
                cells=len(cells),
                ranked=sum(1 for cell in cells if ranks(cell)),
                statuses=heading.statuses(cells),
                facts=heading.flat(measured.devices.get(name, {})) if kind == "device" else [],
                sets=answer_sets(cells, subject_rankings),
                count=count,
            )
    return panels
