"""`cellfarm doctor`: what can run here, what is missing, and how to fix it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..base.errors import CellfarmError
from ..base.project import Project
from ..conversion.routes import choose, native_format
from ..devices import open_device
from ..envs.environments import MODELS_ENVIRONMENT, locate, lock_of
from ..envs.native_building import INSTALL_COMMAND, missing_compiler
from ..libraries import all_libraries, resolve
from ..planning.device_facts import read_all_facts
from ..planning.needs import needs_of
from ..wanted.configuration import Configuration, load_file

NEEDED_MB = 9_000  # environments 4 GB, orchestrator 0.6 GB, results 1 GB, and room to build them


@dataclass(frozen=True)
class Finding:
    """One line: `level` is ok, note (works, but numbers may suffer) or bad (something cannot run)."""

    level: str
    text: str
    remedy: str = ""


def print_report(project: Project, configfile: Path | None) -> int:
    """Print every finding; returns the exit code: 0, or 1 if something cannot run.

    Raises:
        UserError: the config has a mistake; the checks that follow depend on it.
    """
    console = Console(highlight=False, soft_wrap=True)
    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
    code = 0
    for title, findings in _sections(project, configfile):
        console.print(f"[bold]{escape(title)}[/]")
        for finding in findings:
            console.print(f"  {marks[finding.level]} {escape(finding.text)}")
            if finding.remedy:
                console.print(f"       -> {escape(finding.remedy)}")
            if finding.level == "bad":
                code = 1
    return code


def _sections(project: Project, configfile: Path | None) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "Orchestrator", _orchestrator(project)
    configuration = load_file(project, configfile)
    yield "Environments", _environments(project, configuration)
    for name in configuration.devices:
        yield f"Device {name}", _device(project, configuration, name)
    yield "Results", _results(project)


def _orchestrator(project: Project) -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} at {sys.executable}")
    for tool in ("snakemake", "uv"):
        path = Path(sys.executable).parent / tool
        if path.is_file() or shutil.which(tool):
            yield Finding("ok", f"{tool} is installed")
        else:
            yield Finding("bad", f"{tool} is missing", "make setup")
    free_mb = shutil.disk_usage(project.root).free >> 20
    free = f"{free_mb} MB free on the disk of {project.root.name}/"
    if free_mb > NEEDED_MB:
        yield Finding("ok", free)
    else:
        remedy = f"environments and artifacts take up to {NEEDED_MB} MB: make room"
        yield Finding("note", free, remedy)


def _environments(project: Project, configuration: Configuration) -> Iterator[Finding]:
    for name in _needed_environments(project, configuration):
        if not lock_of(project, name).is_file():
            yield Finding("note", f"{name}: no lock yet", "the next run makes it")
            continue
        state = locate(project, name).state()
        if state is None:
            yield Finding("note", f"{name}: not built yet", "make")
        elif state.status == "ok":
            yield Finding("ok", f"{name} ({state.seconds} s to install)")
        else:
            remedy = "mend what it says, then `cellfarm retry` and `make`"
            yield Finding("bad", f"{name}: {state.reason}", remedy)


def _needed_environments(project: Project, configuration: Configuration) -> list[str]:
    """The environments of the config's cells on the devices that answer, the models' first."""
    facts, _ = read_all_facts(project, configuration)
    natives = {native_format(recipe) for recipe in configuration.models.values()}
    names = {MODELS_ENVIRONMENT: None}
    for reference in configuration.config.libraries:
        library, version = resolve(reference)
        sources = {choose(native, all_libraries()[library].sources) for native in natives}
        for name, device_facts in facts.items():
            device = configuration.devices[name]
            for source in sorted(sources, key=str):
                names |= dict.fromkeys(needs_of(device, device_facts, library, version, source))
    return list(names)


def _device(project: Project, configuration: Configuration, name: str) -> Iterator[Finding]:
    device = configuration.devices[name]
    transport = open_device(device, project)
    try:
        transport.check()  # not `prepare`, which would disturb an experiment that runs there
        facts = transport.facts()
    except CellfarmError as error:
        yield Finding("bad", str(error), f"mend devices/{name}.yaml or the device")
        return
    finally:
        transport.close()
    yield Finding(
        "ok", f"{facts['cpu'] or 'unknown CPU'}, {facts['cores']} cores, {facts['architecture']}"
    )
    yield Finding("ok", f"{facts['os'] or 'unknown system'}, kernel {facts['kernel']}")
    memory = "not available" if facts["memory_gb"] is None else f"{facts['memory_gb']} GB"
    yield Finding("ok", f"memory {memory}; work folder {device.work_folder} can be written")
    if not facts["frequency_control"]:
        yield Finding(
            "note",
            "frequencies: not available (a virtual machine, or no driver): clocks cannot be watched",
        )
    elif facts["governor"] not in ("performance", None):
        yield Finding(
            "note",
            f"governor {facts['governor']}: clocks will move during measurements",
            "sudo cpupower frequency-set -g performance",
        )
    else:
        yield Finding("ok", f"governor {facts['governor'] or 'not available'}")
    if device.native and missing_compiler():
        runners = f"native runners ({', '.join(device.native)})"
        yield Finding("bad", f"{runners} cannot be built: no {missing_compiler()}", INSTALL_COMMAND)
    if not facts["thermal_zones"]:
        yield Finding("note", "temperatures: not available")
    yield _load(facts["load_1min"], facts["cores"])


def _load(load: float | None, cores: int) -> Finding:
    if load is None:
        return Finding("note", "load: not available")
    if load > 0.5:
        return Finding(
            "note",
            f"load {load:.2f} on {cores} cores: other work makes numbers worse and flags them",
            "stop other programs while measuring (this counts the last minute)",
        )
    return Finding("ok", f"load {load:.2f}")


def _results(project: Project) -> Iterator[Finding]:
    count = sum(1 for _ in project.cells.rglob("*.json"))
    yield Finding(
        "ok" if count else "note", f"{count} results in the store", "" if count else "make"
    )
    if count and not project.warehouse.is_file():
        yield Finding("note", "no warehouse yet", "make")
