"""Which library to take: as measured, or otherwise as predicted. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..analysis.pareto import error
from ..analysis.ranking import Row, count_flagged
from ..base.errors import UserError
from .comparisons import (
    REFUSED,
    Comparison,
    Results,
    by_label,
    compare_candidates,
    rows_of_comparison,
)
from .evaluation import Axis, Score, evaluate_strategy, fastest_first
from .features import features
from .material import (
    LEAST_MODELS,
    Graph,
    compared,
    count,
    examples_of,
    nothing_ranks,
    rows_of,
    too_few,
)
from .predictor import LEARNED, OVERALL_BEST, STRATEGIES, Example, Scores
from .questions import MEASURED, OVERALL, PREDICTED, Choice, Question, Recommendation, size_mb


def recommend(
    results: Results,
    question: Question,
    graphs: Callable[[Sequence[str]], Mapping[str, Graph]],
    graph: Callable[[], Graph],
) -> Recommendation:
    """Answer from the measurement where two candidates or more rank, otherwise from the predictor, or, with
    too few models to learn from, with what is best overall.

    Args:
        graphs: the known graphs of models; graph: that of the question's model. Only predictions call them.

    Raises:
        UserError: nothing in the warehouse ranks, or nothing is within the limits.
    """
    comparisons = compared(results, question)
    asked = [comparison for comparison in comparisons if _is_asked(comparison, question)]
    if asked:
        return _measured(results, question, asked)
    if not comparisons:
        raise UserError(nothing_ranks(results, question))
    models = sorted({comparison.ranking.model for comparison in comparisons})
    known_graphs = graphs(models) if len(models) >= LEAST_MODELS else {}
    if len(known_graphs) < LEAST_MODELS:
        return _overall_best(results, question, comparisons, len(known_graphs))
    examples = examples_of(results, comparisons, known_graphs)
    return _predicted(results, question, examples, graph())


def _is_asked(comparison: Comparison, question: Question) -> bool:
    ranking = comparison.ranking
    is_same = (ranking.model, ranking.device) == (question.model, question.device)
    return is_same and question.threads in (None, ranking.threads)


def _measured(results: Results, question: Question, asked: Sequence[Comparison]) -> Recommendation:
    """From the comparison with the most threads, and of several protocols the newest."""
    rows = rows_of(results, question)

    def threads_and_time(comparison: Comparison) -> tuple[int, int]:
        times = (row["measured_at"] or 0 for row in rows_of_comparison(rows, comparison))
        return comparison.ranking.threads, max(times)

    chosen = max(asked, key=threads_and_time)
    within = [
        row for row in rows_of_comparison(rows, chosen) if question.allows(size_mb(row), error(row))
    ]
    ranked = compare_candidates(within, results.ratios, question.flagged)
    if not ranked:
        raise UserError(
            f"{question.model} on {question.device}: nothing measured is within the limits"
        )
    ranking, named = ranked[0].ranking, by_label(within)
    choices = []
    for entry in ranking.entries:
        row = named[entry.library]
        choices.append(Choice(
            entry.library, *_identity(row), entry.ratio_to_best, entry.ratio_low, entry.ratio_high,
            entry.latency_ms, size_mb(row), error(row),
        ))  # fmt: skip
    notes = [f"protocol {ranking.protocol}"]
    if ranking.faster_flagged:
        notes.append(f"flagged, with a lower latency: {', '.join(ranking.faster_flagged)}")
    measured = len(chosen.ranking.entries)
    if measured > len(choices):
        notes.append(f"{measured - len(choices)} of {measured} measured are not within the limits")
    return Recommendation(
        question, MEASURED, ranking.threads, tuple(choices), ranking.winners[1:], None, tuple(notes)
    )


def _predicted(
    results: Results, question: Question, examples: Sequence[Example], graph: Graph
) -> Recommendation:
    comparisons = [example.comparison for example in examples]
    facts, threads = results.devices.get(question.device), _threads(question, comparisons)
    regret, overall = (_regret(name, question, examples) for name in (LEARNED, OVERALL_BEST))
    notes = [f"learned from {count(comparisons, 'model')} on {count(comparisons, 'device')}"]
    name, source = LEARNED, PREDICTED
    if regret.mean is not None and overall.mean is not None and overall.mean < regret.mean:
        notes.append(f"the overall best, as the predictor's regret is {100 * regret.mean:.1f} %")
        name, source, regret = OVERALL_BEST, OVERALL, overall
    scores = STRATEGIES[name](examples)(features(graph, facts, threads))
    if not facts:
        notes.append(f"nothing is known of {question.device}: taken for an average one of those")
    return _scored(results, question, source, threads, scores, comparisons, regret, notes)


def _regret(name: str, question: Question, examples: Sequence[Example]) -> Score:
    """What the strategy costs where the model or the device was not seen, as in the question.

    If both are new, the larger cost; None if one is unknown.
    """
    seen = [example.comparison.ranking for example in examples]
    is_new: dict[Axis, bool] = {
        "model": question.model not in {ranking.model for ranking in seen},
        "device": question.device not in {ranking.device for ranking in seen},
    }
    axes: list[Axis] = [axis for axis, new in is_new.items() if new] or ["model"]
    scores = [evaluate_strategy(name, examples, axis) for axis in axes]
    return max(scores, key=lambda score: math.inf if score.mean is None else score.mean)


def _overall_best(
    results: Results, question: Question, comparisons: Sequence[Comparison], graphs: int
) -> Recommendation:
    examples = [Example(comparison, ()) for comparison in comparisons]
    scores = STRATEGIES[OVERALL_BEST](examples)(())
    notes, threads = [too_few(comparisons, graphs)], _threads(question, comparisons)
    return _scored(results, question, OVERALL, threads, scores, comparisons, None, notes)


def _scored(
    results: Results,
    question: Question,
    source: str,
    threads: int,
    scores: Scores,
    comparisons: Sequence[Comparison],
    regret: Score | None,
    notes: list[str],
) -> Recommendation:
    rows = rows_of(results, question)
    asked = (question.model, question.device)
    flagged = count_flagged(row for row in rows if (row["model"], row["device"]) == asked)
    if flagged and not question.flagged:
        notes.append(
            f"{flagged} results of it on {question.device} are flagged: --flagged takes them"
        )
    measured = sorted({comparison.ranking.threads for comparison in comparisons})
    if threads not in measured:
        notes.append(
            f"extrapolated: threads measured are {', '.join(map(str, measured))}, not {threads}"
        )
    choices = _choices(rows, question, scores, comparisons)
    if not choices:
        raise UserError(f"{question.model}: nothing that runs it is within the limits")
    if question.allows(choices[0].size_mb, choices[0].error) is None:
        notes.append("not available: whether that is within the limits, as it was never converted")
    return Recommendation(question, source, threads, tuple(choices), (), regret, tuple(notes))


def _choices(
    rows: Sequence[Row], question: Question, scores: Scores, comparisons: Sequence[Comparison]
) -> list[Choice]:
    """The candidates by their scores, without those that fail with the model, that fail with every model
    tried on the device, or whose known size or error is beyond the limits."""
    of_model = [row for row in rows if row["model"] == question.model]
    ok = {_identity(row): row for row in of_model if row["status"] == "ok"}
    refused = {_identity(row) for row in of_model if row["status"] in REFUSED} - ok.keys()
    ran, tried = _coverage(comparisons)
    ran_here, tried_here = _coverage(
        comparison for comparison in comparisons if comparison.ranking.device == question.device
    )
    named = by_label(rows)
    choices: list[Choice] = []
    for name in fastest_first(scores):
        identity = _identity(named[name])
        row = ok.get(identity, {})
        size, loss = size_mb(row), error(row)
        never_ran_here = name in tried_here and name not in ran_here
        if identity in refused or never_ran_here or question.allows(size, loss) is False:
            continue
        times_best = math.exp(scores[name] - scores[choices[0].candidate]) if choices else 1.0
        choices.append(Choice(
            name, *identity, times_best, size_mb=size, error=loss, ran=len(ran[name]),
            tried=len(tried[name]),
        ))  # fmt: skip
    return choices


def _identity(row: Row) -> tuple[str, str | None, str]:
    return row["own_library"], row["library_version"], row["own_variant"]


def _threads(question: Question, comparisons: Sequence[Comparison]) -> int:
    """The question's, or the most measured on the device, or the most measured anywhere."""
    rankings = [comparison.ranking for comparison in comparisons]
    on_device = [ranking.threads for ranking in rankings if ranking.device == question.device]
    return question.threads or max(on_device or [ranking.threads for ranking in rankings])


def _coverage(
    comparisons: Iterable[Comparison],
) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """Candidate -> the models that it ran, and those that it was tried on."""
    ran: dict[str, set[str]] = defaultdict(set)
    tried: dict[str, set[str]] = defaultdict(set)
    for comparison in comparisons:
        for name in comparison.regrets:
            ran[name].add(comparison.ranking.model)
        for name in (*comparison.regrets, *comparison.refused):
            tried[name].add(comparison.ranking.model)
    return ran, tried
