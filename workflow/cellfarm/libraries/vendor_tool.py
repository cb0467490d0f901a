"""A vendor's own tool that runs instead of the runner: its task and its outcome.

The library's folder has a module `tool`, which stays on this machine:

    usable(all_tools, device_tools)   whether the host's and device's tools, and the device's, suffice
    variables(tools)                  environment variables for its commands
    input_files(folder, samples, inputs)   what the tool reads, as {name in `folder`: bytes}
    scratch_files(task)               further files for one launch, in its scratch folder
    commands(task)                    what to run, one after the other
    output_files(task)                for each sample the files with the outputs, raw float32
    parse(task, finished)             -> Outcome; ValueError for output that cannot be believed
    failure(finished)                 why a command failed, or None

`parse` gets the whole output of commands that ended well; it never sees a command that failed or was
killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A file of an artifact: the type of each node of the source graph, by name.
NODES = "nodes.json"
#: In the arguments of a command on this machine: the folder of the files that it reads and writes.
HERE = "{here}"


class Refusal(Exception):
    """The tool cannot do the task, or did another; the message is the cell's reason."""


@dataclass(frozen=True)
class Task:
    """One launch, as a tool's module sees it. Paths are on the device.

    Args:
        mode: see cellfarm.measures.launches.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.
        artifact: the artifact's folder.
        input_folder: the folder with the files of `input_files`.
        samples: how many samples to run: 1, except for held-out inputs.
        runs: inferences to time.
        scratch: a folder that the tool may write to.
        architecture: the device's, such as aarch64.
    """

    mode: str
    processor: str
    threads: int
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    artifact: str
    input_folder: str
    samples: int
    runs: int
    scratch: str
    tools: Mapping[str, str]
    host_tools: Mapping[str, str]
    architecture: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command of a tool.

    Args:
        on_host: run here; `needs` are files to fetch from the scratch folder to HERE.
        text_files: what `parse` reads, in the scratch folder or HERE.
    """

    argv: Sequence[str]
    on_host: bool = False
    needs: Sequence[str] = ()
    text_files: Sequence[str] = ()


@dataclass(frozen=True)
class Finished:
    """A command that ended: `text` is its standard output, `log` the end of its standard error."""

    command: Command
    code: int
    text: str
    log: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a tool's output says; unknown values are left out.

    Args:
        samples_ms: warm latencies in order; `sample_is` says what a sample is.
        phases_ms: of `load` and `first`.
        actual: settings that the tool reports; `emulated` as for a back end.
        profile: an event `operators` (see cellfarm.measures.operators.profile.read_profile).
    """

    samples_ms: list[float] = field(default_factory=list)
    sample_is: str = "one inference"
    phases_ms: dict[str, float] = field(default_factory=dict)
    library_version: str | None = None
    actual: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] | None = None
