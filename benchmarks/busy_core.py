"""With one busy core beside the measurement: how many cells rank without a flag.

The default matrix, measured by the product's own experiments while a process that does nothing but
count keeps a core busy, wherever the system puts it. The protocol is the config's, with at most 4
launches a cell, without cold starts and profiles, and with 2 s of waiting at a gate and 20 s in an
experiment: the load does not go away, and waiting for it as long as the protocol would, takes long.

Baseline from the same run: the same without the load.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from cellfarm.base.processes import die_with_parent
from cellfarm.wanted.configuration import load_file

from .figures import Baseline, Figure, Options, keep_raw
from .lab import LATENCY_ONLY, Measured, open_lab
from .results import brief, flag_counts, name_of, ranks_unflagged

LAUNCHES = {"min": 3, "max": 4}
WAITING = {"wait_s": 2, "budget_s": 20}
LOAD = "while True: pass"


def measure(options: Options) -> list[Figure]:
    with open_lab("busy_core") as lab:
        name = load_file(lab.project).config.protocol
        gates = {} if options.quick else {"gates": WAITING}
        protocol = lab.protocol(name, options, LATENCY_ONLY, {"launches": LAUNCHES}, **gates)
        axes = (
            {"models": ["squeezenet1_1"], "libraries": ["ncnn", "litert"]} if options.quick else {}
        )
        with _busy_core():
            loaded = lab.measure(protocol, **axes)
        print(f"  with the load: {loaded.wall_s:.0f} s", flush=True)
        quiet = lab.measure(protocol, **axes)
        print(f"  without: {quiet.wall_s:.0f} s", flush=True)
    runs = {"loaded": loaded, "quiet": quiet}
    raw = {load: [brief(result) for result in run.results] for load, run in runs.items()}
    keep_raw("busy_core", options, raw)
    waiting = protocol.gates.as_dict()
    return [
        Figure(
            what="cells that rank without a flag beside a busy core",
            value=float(len(_ranked(loaded))),
            unit="cells",
            target=0.0,
            baselines=[Baseline("without the load", float(len(_ranked(quiet))), "cells")],
            details={
                "cells": len(loaded.results),
                "which rank": ", ".join(_ranked(loaded)) or "none",
                "flags with the load": flag_counts(loaded.results),
                "flags without": flag_counts(quiet.results),
                "waiting": f"{waiting['wait_s']:g} s at a gate, {waiting['budget_s']:g} s in an "
                "experiment",
            },
        )
    ]


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    """Keeps one core busy until the block ends."""
    load = subprocess.Popen(
        [sys.executable, "-S", "-c", LOAD], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:
        yield
    finally:
        load.kill()
        load.wait()


def _ranked(run: Measured) -> list[str]:
    return [name_of(result) for result in run.results if ranks_unflagged(result)]
