"""What a question can be answered from: the comparisons that bear on it, and whether they suffice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..analysis.ranking import Row, count_flagged
from .comparisons import Comparison, Results, candidates, comparisons
from .evaluation import Axis
from .features import features
from .predictor import Example
from .questions import Question

#: Fewer models than this that two candidates rank on teach nothing that carries over to another.
LEAST_MODELS = 5

#: As cellfarm.selection.graph_worker describes one.
Graph = Mapping[str, Any]


def rows_of(results: Results, question: Question) -> list[Row]:
    """The results of its processor and variant, as candidates."""
    rows = [row for row in results.rows if row["processor"] == question.processor]
    return candidates(rows, question.variant)


def compared(results: Results, question: Question) -> list[Comparison]:
    """The comparisons of two candidates or more, of the question's processor and variant."""
    found = comparisons(rows_of(results, question), results.ratios, question.flagged)
    return [one for one in found if one.ranking.is_comparison]


def examples_of(
    results: Results, known: Iterable[Comparison], graphs: Mapping[str, Graph]
) -> list[Example]:
    """The comparisons that can be learned from: those of models whose graph is known."""
    return [
        Example(one, features(graphs[at.model], results.devices.get(at.device), at.threads))
        for one in known
        if (at := one.ranking).model in graphs
    ]


def too_few(known: Sequence[Comparison], graphs: int) -> str:
    """Why nothing is learned from these comparisons; `graphs` of their models have a known graph."""
    number = len({one.ranking.model for one in known})
    exported = f", {graphs} of them exported to ONNX" if number >= LEAST_MODELS else ""
    return (
        f"too few data to learn from: {count(known, 'model')} with two candidates that rank{exported}; "
        f"{LEAST_MODELS} needed"
    )


def nothing_ranks(results: Results, question: Question) -> str:
    """Why there is nothing to choose by."""
    flagged = count_flagged(rows_of(results, question))
    hint = f"; {flagged} results are flagged, --flagged takes them" if flagged else ""
    return f"nothing to choose by: no model was measured with two candidates that rank{hint}"


def count(known: Iterable[Comparison], axis: Axis) -> str:
    """`15 models`, `1 device`."""
    number = len({getattr(one.ranking, axis) for one in known})
    return f"{number} {axis}{'' if number == 1 else 's'}"
