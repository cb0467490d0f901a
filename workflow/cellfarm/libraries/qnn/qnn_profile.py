"""QNN's profile as CSV, as the plugin and `qnn-profile-viewer --output` write it.

The HTP reports cycles per operator. Operators overlap, so cycles are not times: each operator gets its
share of the accelerator's time, and `METHOD` says so. A profile that is cut off or of another form is a
ValueError.
"""

import csv
import io
import re
from typing import Any

HEADER = [
    "Msg Timestamp", "Message", "Time", "Unit of Measurement", "Timing Source", "Event Level",
    "Event Identifier",
]  # fmt: skip
METHOD = "cycles of each operator in QNN's detailed profile, as shares of the accelerator's time"
_EXECUTE = "QNN (execute) time"
_ACCELERATOR = "Accelerator (execute) time"
_OPERATOR = re.compile(r"(?P<name>.*?)[: ]OpId_\d+(?: \(cycles\))?")


def read_runs(text: str) -> list[dict[str, Any]]:
    """The executions of a profile, in order.

    Returns:
        For each {"execute_us", "netrun_us" or None, "accelerator_us" or None,
        "operators": [(name, value, unit)]} with unit CYCLES or US.

    Raises:
        ValueError: the text is no complete profile.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or rows[0] != HEADER:
        raise ValueError("QNN's profile does not begin with the known header")
    if not text.endswith("\n"):
        raise ValueError("QNN's profile is cut off in its last line")
    runs: list[dict[str, Any]] = []
    netrun_us: list[int] = []
    operators: list[tuple[str, int, str]] = []
    accelerator_us: int | None = None
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(HEADER):
            raise ValueError(f"QNN's profile: line {number} has {len(row)} fields")
        _, message, time, unit, source, _, identifier = row
        if not time.isdigit():
            raise ValueError(f"QNN's profile: line {number}: {time!r:.40} is no number")
        if message == "EXECUTE" and unit == "US" and source == "NETRUN":
            netrun_us.append(int(time))
        elif message == "EXECUTE" and unit == "US" and identifier == _EXECUTE:
            runs.append({"execute_us": int(time), "accelerator_us": accelerator_us,
                         "operators": operators, "netrun_us": None})  # fmt: skip
            operators, accelerator_us = [], None
        elif identifier == _ACCELERATOR and unit == "US":
            accelerator_us = int(time)
        elif message == "NODE":
            operators.append((identifier, int(time), unit))
    if operators or accelerator_us is not None:
        raise ValueError("QNN's profile is cut off within an execution")
    if not runs or any(run["execute_us"] == 0 for run in runs):
        raise ValueError("QNN's profile holds no execution that took time")
    if netrun_us and len(netrun_us) != len(runs):
        raise ValueError(
            f"QNN's profile holds {len(runs)} executions, {len(netrun_us)} of them timed by the tool"
        )
    for run, time_us in zip(runs, netrun_us, strict=False):
        run["netrun_us"] = time_us
    return runs


def operators_of(run: dict[str, Any], nodes: dict[str, str]) -> list[dict[str, Any]]:
    """The operators of an execution (see `read_runs`) as {"name", "type", "node", "ms"}.

    Args:
        nodes: type of each node of the graph that was converted, by name.

    Raises:
        ValueError: no operators, or cycles without the accelerator's time.
    """
    rows = run["operators"]
    units = {unit for _, _, unit in rows}
    if units not in ({"CYCLES"}, {"US"}):
        raise ValueError("QNN's profile has no operators in cycles or in microseconds")
    scale_ms = 1e-3
    if units == {"CYCLES"}:
        total = sum(value for _, value, _ in rows)
        if not total or not run["accelerator_us"]:
            raise ValueError("QNN's profile has cycles, and no accelerator's time to share out")
        scale_ms = run["accelerator_us"] / total / 1e3
    operators = []
    for identifier, value, _ in rows:
        name, node, kind = describe(identifier, nodes)
        operators.append({"name": name, "type": kind, "node": node, "ms": value * scale_ms})
    return operators


def describe(identifier: str, nodes: dict[str, str]) -> tuple[str, str | None, str]:
    """Name, source node and type of an operator from QNN's identifier.

    `node_conv2d_4_token_31:OpId_73 (cycles)` is node_conv2d_4. An operator that QNN added has no node;
    its name says its type.
    """
    match = _OPERATOR.fullmatch(identifier)
    name = (match["name"] if match else identifier).strip()
    plain = re.sub(r"_token_\d+$", "", name)
    for node in (name, plain, re.sub(r"_\d+$", "", plain)):
        if node in nodes:
            return name, node, nodes[node]
    for suffix in ("QuantizeLinear", "DequantizeLinear"):
        if re.search(rf"(?:^|_){suffix}(?:_\d+)?$", plain):
            return name, None, suffix
    return name, None, re.sub(r"_\d+$", "", plain) or identifier


def load_us(text: str) -> int | None:
    """The time of loading the context, if the profile has it."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row[1:2] == ["INIT"]]
    times = [int(row[2]) for row in rows if row[3] == "US" and row[2].isdigit()]
    return max(times, default=None)


def side_by_side(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The operators, with their times in all runs.

    Raises:
        ValueError: the operators differ from run to run.
    """
    names = [[operator["name"] for operator in run] for run in runs]
    if not runs or any(others != names[0] for others in names):
        raise ValueError("QNN's operators differ from run to run")
    return [
        first | {"ms": [run[position]["ms"] for run in runs]}
        for position, first in enumerate(runs[0])
    ]
