"""Which library to take: as it was measured, or, without that, as predicted. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..analysis.pareto import error
from ..analysis.ranking import Row, count_flagged
from ..base.errors import UserError
from .comparisons import REFUSED, Comparison, Results, by_label, comparisons, of_comparison
from .evaluation import Axis, Score, evaluate_one, in_order
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
    """Answer from the measurement where two candidates or more rank, else from the predictor, else, with
    too few models to learn from, with what is best overall.

    Args:
        graphs: the graphs of models, as far as they are known; graph: that of the question's model.
            They are asked for only where one predicts.

    Raises:
        UserError: nothing in the warehouse ranks, or nothing is within the limits.
    """
    known = compared(results, question)
    here = [one for one in known if _is_asked(one, question)]
    if here:
        return _measured(results, question, here)
    if not known:
        raise UserError(nothing_ranks(results, question))
    models = sorted({one.ranking.model for one in known})
    found = graphs(models) if len(models) >= LEAST_MODELS else {}
    if len(found) < LEAST_MODELS:
        return _overall_best(results, question, known, len(found))
    return _predicted(results, question, examples_of(results, known, found), graph())


def _is_asked(one: Comparison, question: Question) -> bool:
    at = one.ranking
    same = at.model == question.model and at.device == question.device
    return same and question.threads in (None, at.threads)


def _measured(results: Results, question: Question, here: Sequence[Comparison]) -> Recommendation:
    """Of several numbers of threads the most, of several protocols the newest."""
    rows = rows_of(results, question)

    def newest(one: Comparison) -> tuple[int, int]:
        return one.ranking.threads, max(row["measured_at"] or 0 for row in of_comparison(rows, one))

    asked = max(here, key=newest)
    within = [
        row for row in of_comparison(rows, asked) if question.allows(size_mb(row), error(row))
    ]
    ranked = comparisons(within, results.ratios, question.flagged)
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
    left_out = len(asked.ranking.entries) - len(choices)
    if left_out:
        notes.append(
            f"{left_out} of {len(asked.ranking.entries)} measured are not within the limits"
        )
    return Recommendation(
        question, MEASURED, ranking.threads, tuple(choices), ranking.winners[1:], None, tuple(notes)
    )


def _predicted(
    results: Results, question: Question, examples: Sequence[Example], graph: Graph
) -> Recommendation:
    known = [one.comparison for one in examples]
    facts, threads = results.devices.get(question.device), _threads(question, known)
    regret, plain = (_regret(name, question, examples) for name in (LEARNED, OVERALL_BEST))
    notes = [f"learned from {count(known, 'model')} on {count(known, 'device')}"]
    name, source = LEARNED, PREDICTED
    if regret.mean is not None and plain.mean is not None and plain.mean < regret.mean:
        notes.append(f"the overall best, as the predictor's regret is {100 * regret.mean:.1f} %")
        name, source, regret = OVERALL_BEST, OVERALL, plain
    scores = STRATEGIES[name](examples)(features(graph, facts, threads))
    if not facts:
        notes.append(f"nothing is known of {question.device}: taken for an average one of those")
    return _scored(results, question, source, threads, scores, known, regret, notes)


def _regret(name: str, question: Question, examples: Sequence[Example]) -> Score:
    """What the strategy costs where, as in the question, the model or the device was not seen.

    Of both the larger; unknown if one of them is.
    """
    seen = [one.comparison.ranking for one in examples]
    is_new: dict[Axis, bool] = {
        "model": question.model not in {one.model for one in seen},
        "device": question.device not in {one.device for one in seen},
    }
    axes: list[Axis] = [axis for axis, new in is_new.items() if new] or ["model"]
    scores = [evaluate_one(name, examples, axis) for axis in axes]
    return max(scores, key=lambda one: math.inf if one.mean is None else one.mean)


def _overall_best(
    results: Results, question: Question, known: Sequence[Comparison], graphs: int
) -> Recommendation:
    scores = STRATEGIES[OVERALL_BEST]([Example(one, ()) for one in known])(())
    note = too_few(known, graphs)
    threads = _threads(question, known)
    return _scored(results, question, OVERALL, threads, scores, known, None, [note])


def _scored(
    results: Results,
    question: Question,
    source: str,
    threads: int,
    scores: Scores,
    known: Sequence[Comparison],
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
    measured = sorted({one.ranking.threads for one in known})
    if threads not in measured:
        notes.append(
            f"extrapolated: threads measured are {', '.join(map(str, measured))}, not {threads}"
        )
    choices = _choices(rows, question, scores, known)
    if not choices:
        raise UserError(f"{question.model}: nothing that runs it is within the limits")
    if question.allows(choices[0].size_mb, choices[0].error) is None:
        notes.append("not available: whether that is within the limits, as it was never converted")
    return Recommendation(question, source, threads, tuple(choices), (), regret, tuple(notes))


def _choices(
    rows: Sequence[Row], question: Question, scores: Scores, known: Sequence[Comparison]
) -> list[Choice]:
    """The candidates by their scores, less those that the model refused elsewhere, that the device
    refused with every other model, or that are known from there to be beyond the limits."""
    mine = [row for row in rows if row["model"] == question.model]
    seen = {_identity(row): row for row in mine if row["status"] == "ok"}
    refused = {_identity(row) for row in mine if row["status"] in REFUSED} - seen.keys()
    ran, tried = _coverage(known)
    ran_here, tried_here = _coverage(one for one in known if one.ranking.device == question.device)
    named = by_label(rows)
    choices: list[Choice] = []
    for name in in_order(scores):
        identity = _identity(named[name])
        size, loss = size_mb(seen.get(identity, {})), error(seen.get(identity, {}))
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


def _threads(question: Question, known: Sequence[Comparison]) -> int:
    """Those that were asked for, or the most that the device was measured with, or any other."""
    found = [one.ranking for one in known]
    mine = [one.threads for one in found if one.device == question.device]
    return question.threads or max(mine or [one.threads for one in found])


def _coverage(known: Iterable[Comparison]) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """Candidate -> the models that it ran, and those that it was tried on."""
    ran: dict[str, set[str]] = defaultdict(set)
    tried: dict[str, set[str]] = defaultdict(set)
    for one in known:
        for name in one.regrets:
            ran[name].add(one.ranking.model)
        for name in (*one.regrets, *one.refused):
            tried[name].add(one.ranking.model)
    return ran, tried
