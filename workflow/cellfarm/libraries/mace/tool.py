"""mace_run: its command, and what it prints.

It mixes logs and results on standard output, and its exit status proves nothing. What counts is the row
`time`, and output files of the right size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...measures.launches import MEASURE, PROFILE, QUALITY
from ..vendor_tool import Command, Finished, Outcome, Refusal, Task
from .vendor import tables

_HEADER = re.compile(r"^\s+capability\((\w+)\)\s+init\s+warmup\s+run_avg$")
_TIME = re.compile(r"^time\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(-?[\d.]+)$", re.MULTILINE)
_AVERAGE = re.compile(r"\] Average latency: ([\d.e+-]+) ms$", re.MULTILINE)
_FATAL = re.compile(r"^F \S+\] (?!backtrace:| )(.*)$", re.MULTILINE)
_VERSION = re.compile(r"\] mace version: (\S+)$", re.MULTILINE)
_ONE_THREAD = "CPU core is empty"


def usable(all_tools: Mapping[str, str], device_tools: Mapping[str, str]) -> bool:
    """Whether there is a mace_run on the device."""
    return _program(device_tools) is not None


def variables(tools: Mapping[str, str]) -> dict[str, str]:
    return {}


def input_files(
    folder: str, samples: Sequence[Sequence[np.ndarray]], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Raw float32, named `<sample>_<input>`, because mace_run adds the input's name to a prefix.

    Raises:
        Refusal: an input is not of float32.
    """
    files = {}
    for number, arrays in enumerate(samples):
        for spec, array in zip(inputs, arrays, strict=True):
            if array.dtype != np.float32:
                raise Refusal(f"mace_run reads float32 inputs; '{spec['name']}' is {array.dtype}")
            # mace_run accepts a file of another size, and fills a short one with uninitialised memory.
            if list(array.shape) != list(spec["shape"]):
                raise ValueError(f"the input '{spec['name']}' has the shape {array.shape}")
            files[f"{number}_{_file_name(spec['name'])}"] = array.astype("<f4").tobytes()
    return files


def scratch_files(task: Task) -> dict[str, bytes]:
    return {}


def commands(task: Task) -> list[Command]:
    """A command for each sample; there are several samples of held-out inputs only."""
    return [_command(task, sample) for sample in range(task.samples)]


def output_files(task: Task) -> list[list[str]]:
    return [
        [f"{sample}_{_file_name(spec['name'])}" for spec in task.outputs]
        for sample in range(task.samples)
    ]


def failure(finished: Finished) -> str | None:
    """The first fatal line."""
    fatal = _FATAL.search(finished.text)
    return fatal[1].strip() if fatal else None


def parse(task: Task, finished: Sequence[Finished]) -> Outcome:
    """Read what mace_run printed, and check it against the task.

    Raises:
        Refusal: mace_run used another number of threads or another processor.
        ValueError: it did not run, or its output is incomplete.
    """
    outcomes = [_parse(task, command.text) for command in finished]
    outcome, average_ms = outcomes[0]
    if task.mode == PROFILE:
        outcome.profile = {
            "operators": tables.operators(finished[0].text, task.runs),
            "total_ms": [average_ms],
            "method": f"mace_run --benchmark: means of {task.runs} inferences",
        }
    return outcome


def _parse(task: Task, text: str) -> tuple[Outcome, float]:
    """The outcome of one command, and its mean latency in ms."""
    fatal = _FATAL.search(text)
    if fatal:
        raise ValueError(fatal[1])
    # It echoes the requested number of threads, and uses one.
    if _ONE_THREAD in text and task.threads != 1:
        raise Refusal(
            "MACE uses 1 thread here, whatever it is asked for: the system tells no frequencies of "
            "its processors (cpufreq)"
        )
    lines = text.splitlines()
    heads = [match[1] for line in lines if (match := _HEADER.match(line))]
    rows = _TIME.findall(text)
    if len(heads) != 1 or len(rows) != 1:
        raise ValueError(
            f"mace_run ended well and printed {len(rows)} rows of times; 1 is expected"
        )
    if f"runtimes: [{task.processor.upper()}]" not in text:
        raise Refusal(f"mace_run does not say that it ran on the {task.processor.upper()}")
    for setting in (f"num_threads: {task.threads}", f"round: {_rounds(task)}"):
        if not any(line.endswith(f"] {setting}") for line in lines):
            raise ValueError(f"mace_run does not say '{setting}'")
    for spec in task.outputs:
        size = int(np.prod(spec["shape"], dtype=np.int64))
        name = re.escape(_file_name(spec["name"]))
        if not re.search(rf"Write output file \S*_{name} with size {size} done", text):
            raise ValueError(f"mace_run wrote no output '{spec['name']}' of {size} values")
    _, init_ms, warmup_ms, average_ms = (float(value) for value in rows[0])
    averages = _AVERAGE.findall(text)
    # It prints -1 if it ran no inference.
    if average_ms <= 0 or len(averages) != 1 or abs(float(averages[0]) - average_ms) > 0.01:
        raise ValueError(f"mace_run prints {average_ms:g} ms as its average: no latency")
    version = _VERSION.search(text)
    outcome = Outcome(
        samples_ms=[average_ms] if task.mode == MEASURE else [],
        sample_is=f"the mean of {_rounds(task)} inferences",
        phases_ms={"load": init_ms, "first": warmup_ms},
        library_version=version[1] if version else None,
        actual={"threads": task.threads, "provider": heads[0]},
    )
    return outcome, average_ms


def _command(task: Task, sample: int) -> Command:
    program = _program(task.tools)
    assert program is not None
    inputs, outputs = task.inputs, task.outputs
    options = {
        "model_name": "model",
        "model_file": f"{task.artifact}/model.pb",
        "model_data_file": f"{task.artifact}/model.data",
        # All lists are given: with several inputs, their defaults end in a segmentation fault.
        "input_node": ",".join(spec["name"] for spec in inputs),
        "input_shape": ":".join(_shape(spec) for spec in inputs),
        "input_data_type": ",".join("float32" for _ in inputs),
        "input_data_format": ",".join(_layout(spec) for spec in inputs),
        "input_file": f"{task.input_folder}/{sample}",
        "output_node": ",".join(spec["name"] for spec in outputs),
        "output_shape": ":".join(_shape(spec) for spec in outputs),
        "output_data_type": ",".join("float32" for _ in outputs),
        "output_data_format": ",".join(_layout(spec) for spec in outputs),
        "output_file": f"{task.scratch}/{sample}",
        "round": str(_rounds(task)),
        "num_threads": str(task.threads),
        # cellfarm pins the process to cores, as for every library.
        "cpu_affinity_policy": "0",
    }
    if task.mode == PROFILE:
        options["benchmark"] = "true"
    return Command([program, *(f"--{name}={value}" for name, value in options.items())])


def _rounds(task: Task) -> int:
    return 1 if task.mode == QUALITY else max(1, task.runs)


def _program(tools: Mapping[str, str]) -> str | None:
    return tools.get("mace_run") or tools.get("run")


def _file_name(node: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", node)


def _shape(spec: Mapping[str, Any]) -> str:
    return ",".join(str(size) for size in spec["shape"])


def _layout(spec: Mapping[str, Any]) -> str:
    return "NCHW" if len(spec["shape"]) == 4 else "NONE"
