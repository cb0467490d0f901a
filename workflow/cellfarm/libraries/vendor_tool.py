"""What a library's own tool is asked for and tells, where it runs instead of the runner.

The folder of such a library has a module `tool`, which stays on this machine:

    usable(tools)                     whether these tools can do it
    variables(tools)                  environment variables for its commands
    input_files(folder, samples, inputs)   what the tool reads, as {name in `folder`: bytes}
    scratch_files(task)               further files for one launch, in its scratch folder
    commands(task)                    what to run, one after the other
    output_files(task)                for each sample the files with the outputs, raw float32
    parse(task, finished)             -> Outcome; ValueError for what cannot be believed
    failure(finished)                 why a command failed, or None

Nothing of what a tool prints is a number until `parse` has seen all of it: a command that failed or was
killed is never parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A file of an artifact that tells the type of each node of the source graph, by name.
NODES = "nodes.json"
#: In the arguments of a command on this machine: the folder with what it needs and gives.
HERE = "{here}"


class Refusal(Exception):
    """The tool cannot do what is asked, or did something else; the message is the cell's reason."""


@dataclass(frozen=True)
class Task:
    """One launch, as a tool's module sees it. Paths are the device's.

    Args:
        mode: see cellfarm.measures.launches.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.
        artifact: the artifact's folder.
        given: the folder with what `input_files` made.
        samples: of how many samples outputs are wanted: 1, but for held-out inputs.
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
    given: str
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
        on_host: run here, with `needs` fetched from the scratch folder to where HERE points.
        gives: text files that `parse` wants: in the scratch folder, or HERE.
    """

    argv: Sequence[str]
    on_host: bool = False
    needs: Sequence[str] = ()
    gives: Sequence[str] = ()


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
    """What a tool's output says. Unknown is left out.

    Args:
        samples_ms: warm latencies in order; `sample_is` says what one of them is.
        phases_ms: of `load` and `first`.
        actual: settings that were read back; `emulated` as for a back end.
        profile: an event `operators` (see cellfarm.measures.operators.profile.read_profile).
    """

    samples_ms: list[float] = field(default_factory=list)
    sample_is: str = "one inference"
    phases_ms: dict[str, float] = field(default_factory=dict)
    library_version: str | None = None
    actual: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] | None = None
