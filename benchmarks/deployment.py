"""Putting files on a phone and on a board: against `adb push` and `scp`, and again with nothing changed.

A virtual phone behind an adb server of its own, and a virtual board behind an sshd of its own, on
loopback: the wires are no bottleneck, what is in between is. 100 MB of random bytes are pushed in rounds
by the transport's whole `put` (the look whether it is there, the push, SHA-256 on both ends, the stamp), by
the link's push alone, and by the tool that a person would use: the adb that adbutils brings, and scp. Which
comes first alternates; the disk is flushed before each; the figure is the median of the rounds' ratios. scp
makes a connection first, which the link has; scp over a connection that stands is shown, too. On the phone
SHA-256 is worked out under qemu.

The second deployment is that of a cell of SqueezeNet 1.1 on ncnn, as an experiment makes it, by a fresh
transport: from no connection to everything being there. Its files are counted where they are pushed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import adbutils
from cellfarm.base.digests import file_digest
from cellfarm.base.errors import CellfarmError
from cellfarm.base.records import Record
from cellfarm.devices import Transport, open_device
from cellfarm.devices.link import ask
from cellfarm.experiments.deployment import Deployment
from cellfarm.virtual.starting import virtual_board, virtual_phone
from cellfarm.wanted.devices import parse_device

from .figures import Baseline, Figure, NotMeasurable, Options, keep_raw, shown, spread
from .own_adb import own_adb_server
from .project_copy import ProjectCopy, open_copy
from .timed_transport import count_pushes

PUSH_MB = 100
ROUNDS = 7
LEAST_SPEED = 0.9
SECOND_S = 1.0
MODEL, LIBRARY = "squeezenet1_1", "ncnn"
TIMEOUT_S = 300.0

#: A file, and its absolute path on the device.
Push = Callable[[Path, str], object]


@dataclass(frozen=True)
class Kind:
    """A kind of device.

    Args:
        tool: the tool with which a person would push.
        put_counts: whether its own processor, not an emulated one, runs its `put`.
    """

    name: str
    tool: str
    put_counts: bool


PHONE = Kind("phone", "adb push", put_counts=False)
BOARD = Kind("board", "scp", put_counts=True)
#: What the transport pushes with, as the rounds call it.
OWN = ("put", "link")


def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    problems = []
    raw: dict[str, Any] = {}
    with open_copy("deployment") as copy, own_adb_server():
        for measure_device in (_on_phone, _on_board):
            try:
                figures += measure_device(copy, options, raw)
            except (NotMeasurable, CellfarmError) as error:
                problems.append(str(error))
                print(f"  not measured: {error}", flush=True)
    if not figures:
        raise NotMeasurable("; ".join(problems))
    keep_raw("deployment", options, raw)
    return figures


def _on_phone(copy: ProjectCopy, options: Options, raw: dict[str, Any]) -> list[Figure]:
    with virtual_phone(copy.project, "bench_phone") as started:
        serial = str(started.document["address"]["serial"])

        def push(source: Path, destination: str) -> None:
            _run([adbutils.adb_path(), "-s", serial, "push", str(source), destination])

        return _figures(PHONE, copy, started.document, {PHONE.tool: push}, options, raw)


def _on_board(copy: ProjectCopy, options: Options, raw: dict[str, Any]) -> list[Figure]:
    with (
        virtual_board(copy.project, "bench_board") as started,
        _scp(started.document["address"]) as tools,
    ):
        return _figures(BOARD, copy, started.document, tools, options, raw)


def _figures(
    kind: Kind,
    copy: ProjectCopy,
    document: Mapping[str, Any],
    tools: Mapping[str, Push],
    options: Options,
    raw: dict[str, Any],
) -> list[Figure]:
    copy.add_device(document)
    rounds = options.runs or (2 if options.quick else ROUNDS)
    size_mb = 5 if options.quick else PUSH_MB
    deployments = _deployments(copy, document, rounds)
    pushes = _pushes(copy, document, tools, rounds, size_mb * 1_000_000)
    raw[kind.name] = {
        "pushes_s": pushes,
        "deployments": [vars(deployment) for deployment in deployments],
    }
    return [
        *_push_figures(kind, pushes, size_mb),
        *_deployment_figures(kind, deployments, _command_s(copy, document)),
    ]


# -- pushes ---------------------------------------------------------------------------------------


def _pushes(
    copy: ProjectCopy,
    document: Mapping[str, Any],
    tools: Mapping[str, Push],
    rounds: int,
    size: int,
) -> dict[str, list[float]]:
    """Seconds of each round by method (`OWN` and the tools); and `digest` on this machine."""
    source = copy.root / "random"
    source.write_bytes(os.urandom(size))
    transport: Any = open_device(parse_device(document, "benchmarks"), copy.project)

    def by_link(file: Path, name: str) -> None:
        transport._link.push(file, transport.resolve(name))

    def by_tool(tool: Push, file: Path, name: str) -> None:
        tool(file, transport.resolve(name))

    pushing: dict[str, Push] = {"put": transport.put, "link": by_link}
    pushing |= {name: partial(by_tool, tool) for name, tool in tools.items()}
    seconds_by_method: dict[str, list[float]] = {name: [] for name in (*pushing, "digest")}
    try:
        transport.prepare()
        for number in range(-1, rounds):  # the first is not counted: connections, caches
            order = list(pushing)
            for method in order if number % 2 else reversed(order):
                os.sync()
                name = f"launches/{order.index(method)}-{number}"
                seconds = _seconds(partial(pushing[method], source, name))
                transport.remove(name)
                if number >= 0:
                    seconds_by_method[method].append(seconds)
            seconds_by_method["digest"].append(_seconds(partial(file_digest, source)))
    finally:
        transport.close()
    return seconds_by_method


def _push_figures(kind: Kind, pushes_s: Mapping[str, list[float]], size_mb: int) -> list[Figure]:
    if kind.tool not in pushes_s:
        print(f"  not measured: there is no {kind.tool} here", flush=True)
        return []

    tools = [name for name in pushes_s if name not in (*OWN, "digest")]

    def speeds(method: str) -> list[float]:
        return [size_mb / seconds for seconds in pushes_s[method]]

    def figure(title: str, method: str, least: float | None, details: dict[str, Any]) -> Figure:
        ratios = [
            tool / own for tool, own in zip(pushes_s[kind.tool], pushes_s[method], strict=True)
        ]
        return Figure(
            what=f"{title} of {size_mb} MB to a {kind.name}, its speed over that of {kind.tool}",
            value=median(ratios),
            unit="x",
            least=least,
            baselines=[Baseline(tool, median(speeds(tool)), "MB/s") for tool in tools],
            details={"ratios": spread(ratios, "x"), "speed": spread(speeds(method), "MB/s")}
            | details,
        )

    overhead_s = median(
        put - push for put, push in zip(pushes_s["put"], pushes_s["link"], strict=True)
    )
    details = {
        "of it, besides the push": f"{shown(overhead_s)} s",
        "of that, SHA-256 on this machine": f"{shown(median(pushes_s['digest']))} s",
    }
    return [
        figure("push", "link", LEAST_SPEED, {}),
        figure("whole put", "put", LEAST_SPEED if kind.put_counts else None, details),
    ]


@contextlib.contextmanager
def _scp(address: Mapping[str, Any]) -> Iterator[dict[str, Push]]:
    """scp with a new and with a shared connection; empty if there is no scp."""
    if not shutil.which("scp"):
        yield {}
        return
    target, port = f"{address['user']}@{address['host']}", str(address["port"])
    common = [
        "-F", "none", "-i", address["key_file"], "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={address['known_hosts']}", "-o", "StrictHostKeyChecking=yes",
        "-o", "BatchMode=yes",
    ]  # fmt: skip

    def push(options: Sequence[str], source: Path, destination: str) -> None:
        _run(["scp", "-q", "-P", port, *options, str(source), f"{target}:{destination}"])

    with tempfile.TemporaryDirectory(prefix="cellfarm-scp-") as folder:
        shared = [*common, "-o", f"ControlPath={folder}/socket"]
        standing = [*shared, "-o", "ControlMaster=auto", "-o", "ControlPersist=yes"]
        try:
            yield {
                BOARD.tool: partial(push, common),
                f"{BOARD.tool} over a connection that stands": partial(push, standing),
            }
        finally:
            ended = ["ssh", "-p", port, *shared, "-O", "exit", target]
            subprocess.run(ended, capture_output=True, timeout=TIMEOUT_S, check=False)


def _run(argv: Sequence[str]) -> None:
    # Not a pipe: a connection that scp leaves in the background would keep it open.
    completed = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if completed.returncode:
        raise NotMeasurable(f"{Path(argv[0]).name} ended with {completed.returncode}")


# -- deployments ----------------------------------------------------------------------------------


@dataclass
class Deployed:
    """One deployment: `agent_s` until the agent answers, `files_s` for the facts and all files."""

    agent_s: float
    files_s: float
    files: int
    bytes: int

    @property
    def seconds(self) -> float:
        return self.agent_s + self.files_s


def _deployments(copy: ProjectCopy, document: Mapping[str, Any], rounds: int) -> list[Deployed]:
    """The first deployment on a device, and `rounds` repetitions."""
    outlook, plan = copy.plan(
        devices=[document["name"]], models=[MODEL], libraries=[LIBRARY], threads=[1]
    )
    (planned,) = outlook.cells

    def deploy() -> Deployed:
        transport: Transport = open_device(parse_device(document, "benchmarks"), copy.project)
        pushed = count_pushes(transport).pushed_bytes
        try:
            began_s = time.monotonic()
            transport.prepare()
            answers_s = time.monotonic()
            facts = transport.facts()
            deployment = Deployment(copy.project, plan, transport, facts, lambda name: None)
            deployed = deployment.deploy(planned)
            ended_s = time.monotonic()
        finally:
            transport.close()
        if isinstance(deployed, Record):
            raise NotMeasurable(f"{planned.cell.label}: {deployed.reason}")
        return Deployed(answers_s - began_s, ended_s - answers_s, len(pushed), sum(pushed))

    return [deploy() for _ in range(1 + rounds)]


def _deployment_figures(kind: Kind, deployments: list[Deployed], command_s: float) -> list[Figure]:
    first, *again = deployments
    return [
        Figure(
            what=f"second deployment on a {kind.name}, nothing changed",
            value=median(deployment.seconds for deployment in again),
            unit="s",
            target=SECOND_S,
            baselines=[
                Baseline("`true` by a connection of its own", command_s, "s"),
                Baseline(f"the first: {first.files} files", first.seconds, "s"),
            ],
            details={
                "all runs": spread([deployment.seconds for deployment in again], "s"),
                "of it, the connection and the agent's start": (
                    f"{shown(median(deployment.agent_s for deployment in again))} s"
                ),
                "of it, facts, and the look at every file": (
                    f"{shown(median(deployment.files_s for deployment in again))} s"
                ),
            },
        ),
        Figure(
            what=f"files that it sends to a {kind.name}",
            value=max(deployment.files for deployment in again),
            unit="files",
            target=0,
            baselines=[
                Baseline("the first", first.files, "files"),
                Baseline("the first", first.bytes / 1e6, "MB"),
            ],
        ),
    ]


def _command_s(copy: ProjectCopy, document: Mapping[str, Any]) -> float:
    """The least time of any work on the device: a connection and a command that does nothing."""

    def once() -> None:
        transport: Any = open_device(parse_device(document, "benchmarks"), copy.project)
        try:
            ask(transport._link, ["true"])
        finally:
            transport.close()

    return median(_seconds(once) for _ in range(5))


def _seconds(act: Callable[[], object]) -> float:
    began_s = time.monotonic()
    act()
    return time.monotonic() - began_s
