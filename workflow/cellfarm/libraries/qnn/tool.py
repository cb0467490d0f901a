"""qnn-net-run or snpe-net-run on a Snapdragon device; the device's file has their paths.

This was written without running either tool, from Qualcomm's documentation and published logs. Output of
any other form is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...measures.launches import MEASURE, PROFILE, QUALITY
from ..vendor_tool import HERE, Command, Finished, Outcome, Refusal, Task
from . import qnn_profile
from .vendor import diagview

_SIMULATED_ON = ("x86_64", "AMD64")
_QNN_LOG, _SNPE_LOG = "out/qnn-profiling-data_0.log", "out/SNPEDiag_0.log"
_LIST = "inputs.txt"


def usable(all_tools: Mapping[str, str], device_tools: Mapping[str, str]) -> bool:
    """Whether the device has one of the tools, and the device or the host its viewer."""
    return _choose(all_tools, device_tools) is not None


def variables(tools: Mapping[str, str]) -> dict[str, str]:
    """Where the tool finds its libraries, for the CPU and for the DSP."""
    names = {"libraries": "LD_LIBRARY_PATH", "dsp-libraries": "ADSP_LIBRARY_PATH"}
    return {variable: tools[name] for name, variable in names.items() if name in tools}


def input_files(
    folder: str, samples: Sequence[Sequence[np.ndarray]], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Raw float32, whatever the input's type: the tools convert to what the graph takes."""
    return {
        f"{number}/{position}.raw": array.astype("<f4").tobytes()
        for number, arrays in enumerate(samples)
        for position, array in enumerate(arrays)
    }


def scratch_files(task: Task) -> dict[str, bytes]:
    """The list of inputs, with a line for each inference."""
    numbers = range(task.samples) if task.mode == QUALITY else [0] * _inferences(task)
    lines = (
        " ".join(
            f"{spec['name']}:={task.input_folder}/{number}/{position}.raw"
            for position, spec in enumerate(task.inputs)
        )
        for number in numbers
    )
    return {_LIST: "".join(f"{line}\n" for line in lines).encode()}


def commands(task: Task) -> list[Command]:
    """The tool, then the viewer of its profile, on the device or here."""
    tool = _tool(task)
    assert tool is not None
    level = "detailed" if task.mode == PROFILE else "basic"
    common = [
        f"--input_list={task.scratch}/{_LIST}",
        f"--output_dir={task.scratch}/out",
        f"--profiling_level={level}",
        "--perf_profile=burst",
    ]
    if tool == "qnn-net-run":
        backend = task.tools.get("qnn-backend", "libQnnHtp.so")
        run = [f"--retrieve_context={task.artifact}/context_qnn.bin", f"--backend={backend}"]
        viewer = _viewer(task, "qnn-profile-viewer", _QNN_LOG, "profile.csv")
    else:
        run = [f"--container={task.artifact}/model.dlc", "--use_dsp"]
        viewer = _viewer(task, "snpe-diagview", _SNPE_LOG, None)
    return [Command([task.tools[tool], *run, *common]), viewer]


def output_files(task: Task) -> list[list[str]]:
    return [
        [f"out/Result_{number}/{spec['name']}.raw" for spec in task.outputs]
        for number in range(task.samples)
    ]


def failure(finished: Finished) -> str | None:
    """The first line that says `error`."""
    lines = f"{finished.log}\n{finished.text}".splitlines()
    return next((line.strip() for line in lines if "error" in line.lower()), None)


def parse(task: Task, finished: Sequence[Finished]) -> Outcome:
    """Read what the viewer printed of the tool's profile.

    Raises:
        Refusal: the tool did not run on the DSP.
        ValueError: the profile is incomplete.
    """
    viewer = finished[-1]
    if _tool(task) == "qnn-net-run":
        outcome = _parse_qnn(task, next(iter(viewer.files.values())))
    else:
        outcome = _parse_snpe(task, viewer.text)
    outcome.actual |= {"threads": None}
    if task.architecture in _SIMULATED_ON:
        outcome.actual |= {"emulated": True, "device": "HTP simulator"}
    return outcome


def _parse_qnn(task: Task, text: str) -> Outcome:
    runs = qnn_profile.read_runs(text)
    expected = task.samples if task.mode == QUALITY else _inferences(task)
    if len(runs) != expected:
        raise ValueError(f"{expected} inferences were asked for; the profile holds {len(runs)}")
    if not all(run["accelerator_us"] for run in runs):
        raise Refusal("QNN's profile has no time of the accelerator: it ran elsewhere")
    times_ms = [(run["netrun_us"] or run["execute_us"]) / 1e3 for run in runs]
    load_us = qnn_profile.load_us(text)
    outcome = Outcome(
        samples_ms=times_ms[1:] if task.mode == MEASURE else [],
        phases_ms={"first": times_ms[0]} | ({"load": load_us / 1e3} if load_us else {}),
        actual={"provider": "HTP"},
    )
    if task.mode == PROFILE:
        operators = [qnn_profile.operators_of(run, dict(task.nodes)) for run in runs[1:]]
        outcome.profile = {
            "operators": qnn_profile.side_by_side(operators),
            "total_ms": [run["accelerator_us"] / 1e3 for run in runs[1:]],
            "method": f"qnn-net-run: {qnn_profile.METHOD}",
        }
    return outcome


def _parse_snpe(task: Task, text: str) -> Outcome:
    diagnosis = diagview.read(text)
    if not diagnosis.accelerator_us:
        raise Refusal("SNPE reports no time of the accelerator: it did not run on the DSP")
    total_ms = diagnosis.total_us / 1e3
    count = _inferences(task)
    outcome = Outcome(
        samples_ms=[total_ms] if task.mode == MEASURE else [],
        sample_is=f"the mean of {count} inferences, the first among them",
        # The mean of a single inference is the first.
        phases_ms={"load": diagnosis.init_us / 1e3} | ({"first": total_ms} if count == 1 else {}),
        library_version=diagnosis.version,
        actual={"provider": "DSP"},
    )
    if task.mode == PROFILE:
        outcome.profile = {
            "operators": diagview.operators(diagnosis, dict(task.nodes)),
            "total_ms": [diagnosis.accelerator_us / 1e3],
            "method": f"snpe-net-run: {qnn_profile.METHOD}",
        }
    return outcome


def _inferences(task: Task) -> int:
    """How many to run. QNN reports each inference, so a first one is added that does not count."""
    if task.mode not in (MEASURE, PROFILE):
        return 1
    return task.runs + 1 if _tool(task) == "qnn-net-run" else task.runs


def _viewer(task: Task, viewer: str, log: str, csv: str | None) -> Command:
    on_device = viewer in task.tools
    program = (task.tools if on_device else task.host_tools)[viewer]
    folder = task.scratch if on_device else HERE
    path = f"{task.scratch}/{log}" if on_device else f"{HERE}/{log.rpartition('/')[2]}"
    argv = [program, f"--input_log={path}", *([f"--output={folder}/{csv}"] if csv else [])]
    needs = () if on_device else (log,)
    return Command(argv, not on_device, needs, (csv,) if csv else ())


def _tool(task: Task) -> str | None:
    return _choose({**task.host_tools, **task.tools}, task.tools)


def _choose(all_tools: Mapping[str, str], device_tools: Mapping[str, str]) -> str | None:
    for tool, viewer in (("qnn-net-run", "qnn-profile-viewer"), ("snpe-net-run", "snpe-diagview")):
        if tool in device_tools and viewer in all_tools:
            return tool
    return None
