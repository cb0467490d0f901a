"""One launch of a library's native tool: runs its commands, reads its output, fills the record."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import Launched, Transport
from ..devices.local import LocalTransport
from ..libraries.vendor_tool import HERE, Command, Finished, Outcome, Refusal, Task
from ..measures.launches import ACCURACY, COLD, MEASURE, PROFILE, QUALITY, START
from .deployed import Deployed, Setting
from .events import Record
from .vendor_tools import VendorTool, put_files, read_raw

MAX_LINES = 500_000
#: The modes that a tool can have.
_MODES = (MEASURE, START, COLD, QUALITY, PROFILE, ACCURACY)
_LOG_CHARACTERS = 16_000
#: Runs on the device with the payload's code: puts the artifact into the page cache or out of it.
_PREPARE = """\
import sys; sys.path.insert(0, sys.argv[1])
import page_cache
(page_cache.evict if sys.argv[3] == "cold" else page_cache.read_all)(sys.argv[2])
print(page_cache.resident_share(sys.argv[2]))
"""


def run_tool(
    setting: Setting,
    deployed: Deployed,
    request: Mapping[str, Any],
    record: Record,
    variables: Mapping[str, str],
    scratch: str,
) -> tuple[Launched, bytes | None]:
    """Run a tool's commands as one launch, and give the record the events of a runner.

    Args:
        request: the runner's request (see cellfarm.experiments.launch).
        scratch: a name in the device's work folder for a temporary folder.

    Returns:
        How the launch ended, and the outputs as an .npz if there are any.
    """
    tool = deployed.tool
    assert tool is not None
    launch = _Launch(setting, tool, record, variables, scratch)
    try:
        return launch.run(deployed, request)
    finally:
        setting.transport.remove(scratch)


class _Launch:
    """One launch of a tool; `log` is the end of its commands' output."""

    def __init__(
        self,
        setting: Setting,
        tool: VendorTool,
        record: Record,
        variables: Mapping[str, str],
        scratch: str,
    ) -> None:
        self.setting, self.tool, self.record, self.scratch = setting, tool, record, scratch
        self.transport = setting.transport
        self.variables = dict(variables)
        # Only for the tool: other programs must not load a vendor's libraries.
        self.tool_variables = {**variables, **tool.module.variables(tool.tools)}
        self.end_s = time.monotonic() + setting.protocol.launch_timeout_s
        self.log = ""

    def run(self, deployed: Deployed, request: Mapping[str, Any]) -> tuple[Launched, bytes | None]:
        cores = request["cores"]
        self._tell("phase", name="tool")
        try:
            task = self._task(request)
            self._prepare_cache(deployed, request)
            self._tell("pinned", cores=cores)
            put_files(self.transport, self.scratch, self.tool.module.scratch_files(task))
            finished, launched = self._run_all(task, cores)
            if launched.code or launched.timed_out:
                return launched, None
            outcome: Outcome = self.tool.module.parse(task, finished)
            data = None if task.mode == PROFILE else self._outputs(task)
        except Refusal as refusal:
            self._tell("error", kind="Unsupported", message=str(refusal))
            return Launched(1, False, self.log, 0), None
        except ValueError as error:
            self._tell("error", kind="output that cannot be believed", message=str(error))
            return Launched(1, False, self.log, 0), None
        self._tell_all(task, outcome, data is not None)
        return launched, data

    def _task(self, request: Mapping[str, Any]) -> Task:
        tool, mode = self.tool, request["mode"]
        if mode not in _MODES:
            raise Refusal(f"the library's own tool has no launches of mode {mode}")
        if mode == MEASURE and request["pattern"]["kind"] != "back_to_back":
            kind = request["pattern"]["kind"]
            raise Refusal(f"the library's own tool cannot run with the pattern {kind}")
        runs = {
            MEASURE: lambda: request["samples"]["min"],
            PROFILE: lambda: request["profile"]["runs"],
        }
        if mode == ACCURACY and not tool.labelled:
            raise Refusal(
                "too many for the library's own tool, which reads them as files of floats"
            )
        samples = {ACCURACY: tool.labelled_samples}
        if mode == QUALITY:
            samples[QUALITY] = min(request["quality"]["samples"], tool.heldout_samples)
        inputs = {QUALITY: tool.heldout, ACCURACY: tool.labelled}.get(mode, tool.inputs)
        return Task(
            # A tool runs both alike: inputs in, outputs out.
            mode=QUALITY if mode == ACCURACY else mode,
            processor=request["processor"],
            threads=request["threads"],
            inputs=request["model"]["inputs"],
            outputs=request["model"]["outputs"],
            artifact=request["artifact"],
            input_folder=self.transport.resolve(inputs),
            samples=samples.get(mode, 1),
            runs=runs[mode]() if mode in runs else 1,
            scratch=self.transport.resolve(self.scratch),
            tools=tool.tools,
            host_tools=tool.host_tools,
            architecture=tool.architecture,
            nodes=tool.nodes,
        )

    def _prepare_cache(self, deployed: Deployed, request: Mapping[str, Any]) -> None:
        argv = [*deployed.python.argv, "-c", _PREPARE]
        argv += [self.transport.resolve(deployed.payload), request["artifact"], request["mode"]]
        _, text = self._run(self.transport, argv)
        try:
            share = float(text)
        except ValueError:
            share = None  # the system does not say, and None is printed
        self._tell("page_cache", resident_share=share)

    def _run_all(self, task: Task, cores: Sequence[int] | None) -> tuple[list[Finished], Launched]:
        finished: list[Finished] = []
        launched = Launched(0, False, "", 0)
        with tempfile.TemporaryDirectory() as folder:
            for command in self.tool.module.commands(task):
                result, launched = self._run_command(command, Path(folder), cores)
                if launched.timed_out:
                    break
                if launched.code:
                    reason = self.tool.module.failure(result)
                    if reason:
                        self._tell("error", kind=Path(command.argv[0]).name, message=reason)
                    break
                finished.append(result)
        return finished, Launched(launched.code, launched.timed_out, self.log, launched.spawned_ns)

    def _run_command(
        self, command: Command, folder: Path, cores: Sequence[int] | None
    ) -> tuple[Finished, Launched]:
        files: dict[str, str] = {}
        if command.on_host:
            for name in command.needs:
                (folder / Path(name).name).write_bytes(self._read(name))
            argv = [part.replace(HERE, str(folder)) for part in command.argv]
            launched, text = self._run(LocalTransport(folder), argv)
        else:
            argv = list(command.argv)
            if cores:
                # util-linux and Android's toybox both understand this.
                argv = ["taskset", f"{sum(1 << core for core in cores):x}", *argv]
            launched, text = self._run(self.transport, argv, self.tool_variables)
        if not launched.code and not launched.timed_out:
            for name in command.text_files:
                data = _read_file(folder, name) if command.on_host else self._read(name)
                files[name] = data.decode(errors="replace")
        return Finished(command, launched.code, text, launched.log, files), launched

    def _run(
        self, transport: Transport, argv: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> tuple[Launched, str]:
        lines: list[str] = []

        def take(line: str) -> None:
            if len(lines) < MAX_LINES:
                lines.append(line)

        launched = transport.run(
            argv,
            stdin=b"",
            timeout_s=max(0.1, self.end_s - time.monotonic()),
            variables=self.variables if variables is None else variables,
            on_line=take,
            keep_open=[self.setting.lock],
        )
        text = "".join(f"{line}\n" for line in lines)
        self.log = f"{self.log}{text}{launched.log}"[-_LOG_CHARACTERS:]
        return launched, text

    def _read(self, name: str) -> bytes:
        data = self.transport.read(f"{self.scratch}/{name}")
        if data is None:
            raise ValueError(f"the tool ended well, and did not write {name}")
        return data

    def _outputs(self, task: Task) -> bytes:
        """The outputs of all samples as an .npz; for held-out inputs, the samples are the first axis."""
        outputs: dict[str, list[np.ndarray]] = {spec["name"]: [] for spec in task.outputs}
        for names in self.tool.module.output_files(task):
            for spec, name in zip(task.outputs, names, strict=True):
                outputs[spec["name"]].append(read_raw(self._read(name), spec))
        arrays = {
            name: np.stack(values) if task.mode == QUALITY else values[0]
            for name, values in outputs.items()
        }
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    def _tell_all(self, task: Task, outcome: Outcome, has_outputs: bool) -> None:
        self.record.fields["library_version"] = outcome.library_version
        self.record.fields["actual"] = outcome.actual | {"sample": outcome.sample_is}
        for name, ms in outcome.phases_ms.items():
            self._tell("done", name=name, ms=ms)
        if has_outputs:
            self._tell("outputs")
        if outcome.actual.get("emulated"):
            self._tell("emulated")
        elif task.mode == MEASURE:
            self._tell("samples", ms=outcome.samples_ms, seconds=None)
        if task.mode == PROFILE and outcome.profile:
            self._tell("operators", **outcome.profile)
        self._tell("end")

    def _tell(self, event: str, **fields: Any) -> None:
        self.record.take(json.dumps({"event": event, **fields}))


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"the tool ended well, and did not write {name}") from None
