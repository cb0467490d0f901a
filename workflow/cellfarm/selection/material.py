"""The comparisons that answer a question, and whether they suffice to learn from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..analysis.ranking import Row, count_flagged
from .comparisons import Comparison, Results, candidates, compare_candidates
from .evaluation import Axis
from .features import features
from .predictor import Example
from .questions import Question

#: Least models with two candidates that rank, to learn from.
LEAST_MODELS = 5

#: A description by cellfarm.selection.graph_worker.
Graph = Mapping[str, Any]


def rows_of(results: Results, question: Question) -> list[Row]:
    """The results of the question's processor and variant, as candidates."""
    rows = [row for row in results.rows if row["processor"] == question.processor]
    return candidates(rows, question.variant)


def compared(results: Results, question: Question) -> list[Comparison]:
    """The comparisons of two candidates or more, of the question's processor and variant."""
    rows = rows_of(results, question)
    comparisons = compare_candidates(rows, results.ratios, question.flagged)
    return [comparison for comparison in comparisons if comparison.ranking.is_comparison]


def examples_of(
    results: Results, comparisons: Iterable[Comparison], graphs: Mapping[str, Graph]
) -> list[Example]:
    """The comparisons that can be learned from: those of models whose graph is known."""
    examples = []
    for comparison in comparisons:
        model, device = comparison.ranking.model, comparison.ranking.device
        if model in graphs:
            facts, threads = results.devices.get(device), comparison.ranking.threads
            examples.append(Example(comparison, features(graphs[model], facts, threads)))
    return examples


def too_few(comparisons: Sequence[Comparison], graphs: int) -> str:
    """Why nothing is learned from these comparisons; `graphs` of their models have a known graph."""
    number = len({comparison.ranking.model for comparison in comparisons})
    exported = f", {graphs} of them exported to ONNX" if number >= LEAST_MODELS else ""
    return (
        f"too few data to learn from: {count(comparisons, 'model')} with two candidates that rank{exported}; "
        f"{LEAST_MODELS} needed"
    )


def nothing_ranks(results: Results, question: Question) -> str:
    """Why there is nothing to choose by."""
    flagged = count_flagged(rows_of(results, question))
    hint = f"; {flagged} results are flagged, --flagged takes them" if flagged else ""
    return f"nothing to choose by: no model was measured with two candidates that rank{hint}"


def count(comparisons: Iterable[Comparison], axis: Axis) -> str:
    """`15 models`, `1 device`."""
    number = len({getattr(comparison.ranking, axis) for comparison in comparisons})
    return f"{number} {axis}{'' if number == 1 else 's'}"
