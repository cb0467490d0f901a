"""The checked report of a profiling launch, in names that all libraries share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...base import documents
from ...base.errors import UserError
from ...base.untrusted import text

#: The common name of types that a library's operators.yaml does not list.
OTHER = "Other"
MAX_OPERATORS = 20_000
MAX_RUNS = 10_000
MAX_NAME = 300
#: One run of an operator, in ms; no launch lasts longer.
MAX_MS = 1e8
#: The names of operators that all libraries share.
Common = Literal[
    "Conv", "DepthwiseConv", "ConvTranspose", "MatMul", "Attention", "Recurrent", "Add", "Sub", "Mul", "Div",
    "Elementwise", "Relu", "LeakyRelu", "PRelu", "Elu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish",
    "Swish", "Gelu", "Softmax", "LayerNorm", "BatchNorm", "InstanceNorm", "GroupNorm", "LRN", "MaxPool",
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Pool", "Reduce", "ArgMax", "TopK", "CumSum",
    "Concat", "Split", "Slice", "Reshape", "Transpose", "Gather", "Scatter", "Expand", "Pad", "Resize",
    "DepthToSpace", "SpaceToDepth", "Where", "Compare", "Constant", "Cast", "Copy", "Quantize", "Dequantize",
    "ControlFlow",
]  # fmt: skip


class NameRule(Struct, frozen=True, forbid_unknown_fields=True, rename={"common": "is"}):
    """A type whose meaning depends on the operator's name."""

    type: Annotated[str, Meta(description="the library's own type")]
    name: Annotated[str, Meta(description="a regular expression that the whole name matches")]
    common: Common


class VocabularyFile(Struct, frozen=True, forbid_unknown_fields=True):
    """An operators.yaml."""

    types: Annotated[
        dict[Common, Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]],
        Meta(description="names of the common vocabulary, each with the library's own types"),
    ]
    by_name: Annotated[
        tuple[NameRule, ...],
        Meta(description="types that only a name tells apart; the first that fits counts"),
    ] = ()


@dataclass(frozen=True)
class Vocabulary:
    """A library's own types of operators in the common vocabulary.

    `by_name` are (type, pattern of the whole name, common name) for types whose meaning depends on the
    name; the first match counts, before `types`.
    """

    types: Mapping[str, str]
    by_name: tuple[tuple[str, re.Pattern[str], str], ...] = ()

    def common(self, library_type: str, name: str) -> str:
        """The common name of an operator; `Other` if there is none."""
        for kind, pattern, common in self.by_name:
            if kind == library_type and pattern.fullmatch(name):
                return common
        return self.types.get(library_type, OTHER)


@dataclass(frozen=True)
class Operator:
    """One operator of a profile; `ms` is its median over the runs."""

    position: int  # in the order of execution, from 0
    name: str
    type: str  # common vocabulary
    library_type: str
    node: str | None  # of the source graph
    ms: float


@dataclass(frozen=True)
class Profile:
    """The operators of one cell.

    `sum_ms` is the sum of the operators' medians and `total_ms` the median wall time of the profiled
    inferences. On a disturbed machine the first is well below the second: a disturbance hits every run,
    but a different operator each time. `gap` is the difference between the sum of a run's operators and
    the run's wall time, as a share of it, median over the runs: time between operators, or of profiling
    itself. `total_ms` and `gap` are None where no total is known.
    """

    operators: tuple[Operator, ...]
    sum_ms: float
    total_ms: float | None
    gap: float | None
    method: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"operators": [asdict(operator) for operator in self.operators]}


@cache
def read_vocabulary(path: Path) -> Vocabulary:
    """A library's operators.yaml.

    Raises:
        UserError: it violates the schema, gives a type two names, or has an invalid pattern.
    """
    document = documents.read(path, VocabularyFile)
    types: dict[str, str] = {}
    for common, library_types in document.types.items():
        for kind in library_types:
            if kind in types:
                raise UserError(
                    f"{path}: key 'types': '{kind}' stands under '{types[kind]}' and '{common}'"
                )
            types[kind] = common
    by_name = []
    for number, rule in enumerate(document.by_name):
        try:
            pattern = re.compile(rule.name)
        except re.error as error:
            raise UserError(
                f"{path}: key 'by_name[{number}].name': no regular expression: {error}"
            ) from error
        by_name.append((rule.type, pattern, rule.common))
    return Vocabulary(types, tuple(by_name))


def read_profile(event: Any, vocabulary: Vocabulary) -> Profile:
    """The profile in a runner's event `operators`.

    Args:
        event: {"operators": [{"name", "type", "node", "ms": [one per run]}], "total_ms": [one per
            run, or none], "method"}, as it came from the device; nothing in it is trusted.

    Raises:
        ValueError: it is anything else; the message says what.
    """
    if not isinstance(event, Mapping):
        raise ValueError("it is no mapping")
    reported = event.get("operators")
    if not isinstance(reported, list) or not 1 <= len(reported) <= MAX_OPERATORS:
        raise ValueError(f"it has no list of 1 to {MAX_OPERATORS} operators")
    totals = _times(event.get("total_ms"), "total_ms")
    operators: list[Operator] = []
    columns: list[list[float]] = []
    for position, entry in enumerate(reported):
        where = f"operator {position}"
        if not isinstance(entry, Mapping):
            raise ValueError(f"{where} is no mapping")
        times = _times(entry.get("ms"), where)
        columns.append(times)
        if not times or len(times) != len(columns[0]):
            raise ValueError(f"{where} has {len(times)} times; others have {len(columns[0])}")
        name, kind = _name(entry.get("name"), where), _name(entry.get("type"), where)
        node = None if entry.get("node") is None else _name(entry["node"], where)
        operators.append(
            Operator(position, name, vocabulary.common(kind, name), kind, node, _median(times))
        )
    if totals and (len(totals) != len(columns[0]) or 0 in totals):
        raise ValueError(f"total_ms: {len(columns[0])} times above 0 were expected")
    gaps = [
        operators_match(math.fsum(run), total_ms)
        for run, total_ms in zip(zip(*columns, strict=True), totals, strict=False)
    ]
    return Profile(
        operators=tuple(operators),
        sum_ms=round(math.fsum(operator.ms for operator in operators), 6),
        total_ms=_median(totals) if totals else None,
        gap=_median(gaps) if gaps else None,
        method=text(event.get("method", ""), MAX_NAME),
    )


def operators_match(sum_ms: float, latency_ms: float) -> float:
    """The difference of the operators' sum from a latency, as a share of it: 0.1 is a tenth too much.

    Raises:
        ValueError: no latency.
    """
    if not latency_ms > 0:
        raise ValueError(f"{latency_ms!r} ms is no latency")
    return (sum_ms - latency_ms) / latency_ms


def _times(values: Any, where: str) -> list[float]:
    """Checked times in ms; empty for a missing list."""
    if values is None:
        return []
    if not isinstance(values, list) or len(values) > MAX_RUNS:
        raise ValueError(f"{where}: no list of at most {MAX_RUNS} times")
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Comparisons are False for NaN, and exact for integers too large for a float.
        if not (number and 0 <= value <= MAX_MS):
            raise ValueError(f"{where}: {value!r:.40} is no time")
    return [float(value) for value in values]


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not (name := text(value, MAX_NAME)):
        raise ValueError(f"{where}: {value!r:.40} is no name")
    return name


def _median(times: list[float]) -> float:
    return round(float(median(times)), 6)
