"""`cellfarm recommend`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ..base import documents
from ..base.cells import threads_text
from ..base.errors import UserError
from ..base.project import Project
from ..selection.comparisons import Results, read_results
from ..selection.evaluation import Axis, Score, evaluate
from ..selection.graphs import Graphs, how_to_export
from ..selection.material import LEAST_MODELS, Graph, compared, examples_of, nothing_ranks, too_few
from ..selection.questions import Choice, Question, Recommendation
from ..selection.recommending import recommend
from ..warehouse import connect
from .tables import plain_table, wide_console

SCHEMA = 1
_UNKNOWN = "n/a"


def print_recommendation(project: Project, question: Question, form: str) -> None:
    """Answer a question as a table or as JSON.

    Args:
        question: its model is a name in models/ or the warehouse, or the path of an ONNX file.

    Raises:
        UserError: the model, device or variant is unknown, or there is nothing to choose by.
    """
    results = _results(project, question)
    _check_device(project, results, question.device)
    graphs = Graphs(project)
    model, graph = _model(project, results, graphs, question.model)
    question = dataclasses.replace(question, model=model)
    answer = recommend(results, question, graphs.of_models, graph)
    if form == "json":
        print(json.dumps({"schema": SCHEMA, **dataclasses.asdict(answer)}, indent=1))
        return
    console = wide_console()
    console.print(_table(answer))
    for line in _notes(answer):
        console.print(f"  [dim]{escape(line)}[/]")


def print_evaluation(project: Project, question: Question, form: str) -> None:
    """Print what each strategy of choosing costs, as a table or as JSON.

    Args:
        question: only its variant, processor and `flagged` count.

    Raises:
        UserError: the variant is unknown, or there are too few data.
    """
    results = _results(project, question)
    comparisons = compared(results, question)
    if not comparisons:
        raise UserError(nothing_ranks(results, question))
    models = {comparison.ranking.model for comparison in comparisons}
    graphs = Graphs(project).of_models(sorted(models))
    examples = examples_of(results, comparisons, graphs)
    if len(graphs) < LEAST_MODELS:
        raise UserError(too_few(comparisons, len(graphs)))
    left_out = sorted(models - set(graphs))
    if left_out:
        print(
            f"cellfarm: left out, as their graphs are not known: {', '.join(left_out)}; "
            f"{how_to_export(left_out)}",
            file=sys.stderr,
        )
    axes: tuple[Axis, ...] = ("model", "device")
    evaluations = {axis: evaluate(examples, axis) for axis in axes}
    if form == "json":
        document = {
            axis: [dataclasses.asdict(score) for score in scores]
            for axis, scores in evaluations.items()
        }
        print(json.dumps({"schema": SCHEMA, **document}, indent=1))
        return
    console = wide_console()
    for axis, scores in evaluations.items():
        if scores[0].mean is None:
            console.print(f"Leave one {axis} out: not available, {scores[0].left_out} {axis}")
        else:
            console.print(_scores(axis, scores))


def _results(project: Project, question: Question) -> Results:
    variants = sorted(path.stem for path in (project.config / "variants").glob("*.yaml"))
    if question.variant not in (None, *variants):
        raise UserError(f"--variant {question.variant}: expected one of {', '.join(variants)}")
    with connect(project.warehouse) as connection:
        return read_results(connection)


def _check_device(project: Project, results: Results, device: str) -> None:
    known = sorted({*results.devices, *(path.stem for path in project.devices.glob("*.yaml"))})
    if device not in known:
        raise UserError(
            f"--device: unknown device '{device}'{documents.suggestion(device, known)}; there are: "
            f"{', '.join(known)}"
        )


def _model(
    project: Project, results: Results, graphs: Graphs, model: str
) -> tuple[str, Callable[[], Graph]]:
    """The model's name in the warehouse, and a function that reads its graph."""
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        if not path.is_file():
            raise UserError(f"--model: there is no file {path}")
        recipe = _recipe_of(project, path)
        if recipe is None:
            # Read now: the file was never measured, and may be no model at all.
            graph = graphs.of_file(path)
            return model, lambda: graph
        model = recipe
    known = sorted({*results.models, *(file.stem for file in project.models.glob("*.yaml"))})
    if model not in known:
        raise UserError(
            f"--model: unknown model '{model}'{documents.suggestion(model, known)}; there are: "
            f"{', '.join(known)}, or the path of an ONNX file"
        )
    return model, lambda: graphs.of_model(model)


def _recipe_of(project: Project, path: Path) -> str | None:
    """The name of the recipe that has this file, if any."""
    for recipe in sorted(project.models.glob("*.yaml")):
        document = documents.load_yaml(recipe)
        file = document.get("file") if isinstance(document, Mapping) else None
        if file and (project.root / str(file)).resolve() == path.resolve():
            return recipe.stem
    return None


def _table(answer: Recommendation) -> Table:
    question, first = answer.question, answer.choices[0]
    title = (
        f"{question.model} on {question.device} ({question.processor}, "
        f"{threads_text(answer.threads)}): "
        f"{first.library} {first.library_version}, {first.variant}; {answer.source}"
    )
    columns = [("", True), ("library", False), ("variant", False), ("ms", True), ("× best", True),
               ("95 % interval", False), ("MB", True), ("error", True), ("ran", True)]  # fmt: skip
    table = plain_table(escape(title), columns)
    for place, choice in enumerate(answer.choices, start=1):
        tied = bool(answer.ties) and (choice is first or choice.candidate in answer.ties)
        table.add_row("1=" if tied else str(place), *_cells(choice, choice is first))
    return table


def _cells(choice: Choice, is_first: bool) -> list[str]:
    interval = _UNKNOWN
    if choice.low is not None and choice.high is not None:
        interval = f"{choice.low:.2f} to {choice.high:.2f}"
    return [
        escape(f"{choice.library} {choice.library_version or ''}".strip()),
        choice.variant,
        _number(choice.latency_ms, ".2f"),
        f"{choice.times_best:.2f}",
        "" if is_first else interval,
        _number(choice.size_mb, ".1f"),
        _number(choice.error, ".1e"),
        _UNKNOWN if choice.tried is None else f"{choice.ran} of {choice.tried}",
    ]


def _notes(answer: Recommendation) -> list[str]:
    """The lines below the table."""
    lines = [f"{answer.source}: {'; '.join(answer.notes)}"]
    if answer.ties:
        lines.append(f"{answer.choices[0].candidate} cannot be told from {', '.join(answer.ties)}")
    if answer.regret:
        lines.append(f"expected regret: {_regret(answer.regret)}")
    if answer.question.flagged:
        lines.append("flagged results were taken for what they say: their latencies are in doubt")
    return lines


def _regret(score: Score) -> str:
    axis = score.axis
    if score.mean is None:
        return f"not available, {score.left_out} {axis}"
    return (
        f"{_percent(score.mean)} (mean of {score.comparisons} comparisons, each of {score.left_out} "
        f"{axis}s left out in turn; worst {_percent(score.worst)})"
    )


def _scores(axis: str, scores: Sequence[Score]) -> Table:
    first = scores[0]
    title = f"Leave one {axis} out: {first.comparisons} comparisons, {first.left_out} {axis}s"
    columns = [("chosen by", False), ("mean regret", True), ("worst", True),
               ("first does not run", True)]  # fmt: skip
    table = plain_table(title, columns)
    for score in scores:
        mean, worst = _percent(score.mean), _percent(score.worst)
        table.add_row(score.strategy, mean, worst, str(score.refused))
    return table


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.1f} %"


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)
