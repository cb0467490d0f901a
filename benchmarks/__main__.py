"""`python -m benchmarks [name ...]`: measure what cellfarm costs and how good its numbers are."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from .figures import Figure, NotMeasurable, Options

#: In the order in which they run.
DEFAULT = ("planning", "launch_cost", "against_tool", "second_make")
#: They take many minutes, and `fresh` needs the network: they run only if named.
NAMED_ONLY = (
    "fresh", "repeatability", "test_retest", "a_a", "a_b", "busy_core", "own_tools", "adaptive",
    "sampler_cost", "conversion", "deployment", "simulated_farm", "lossy_link", "farm",
    "fault_matrix", "loading", "report_size",
)  # fmt: skip


def main() -> int:
    """Returns 0 if all were measured, 1 if one was not or (with --check) missed a target."""
    arguments = _arguments()
    options = Options(
        quick=arguments.quick,
        tests=arguments.tests,
        profile=arguments.profile,
        runs=arguments.runs,
    )
    results: dict[str, Any] = {}
    good = True
    for name in arguments.names or DEFAULT:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"{name}: {_summary(module)}", flush=True)
        try:
            figures: list[Figure] = module.measure(options)
            if options.quick:  # too few runs for a target to mean anything
                figures = [replace(figure, target=None, least=None) for figure in figures]
        except NotMeasurable as error:
            print(f"  not measured: {error}\n", flush=True)
            results[name] = {"not_measured": str(error), "figures": []}
            good = False
            continue
        for figure in figures:
            print("\n".join(figure.lines()))
        print(flush=True)
        results[name] = {"figures": [figure.as_dict() for figure in figures]}
        if arguments.check and any(figure.reached is False for figure in figures):
            good = False
    if arguments.json:
        document = {"measured_at": _now(), "machine": _machine(), "quick": options.quick} | {
            "benchmarks": results
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    listing = "\n".join(
        f"  {name:14} {_summary(importlib.import_module(f'benchmarks.{name}'))}"
        for name in (*DEFAULT, *NAMED_ONLY)
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what cellfarm itself costs and how good its numbers are. Nothing else should "
        "run on the machine.",
        epilog=f"benchmarks ({', '.join(DEFAULT)} if none is named):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which ones, see below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--quick", action="store_true", help="tiny: shows that it works, its figures mean nothing"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="repetitions (of pairs, too)")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a target is missed")
    parser.add_argument(
        "--tests", choices=["after", "alone"], help="fresh: `make test` after `make`, or without it"
    )
    parser.add_argument("--profile", action="store_true", help="planning: show what takes the time")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in (*DEFAULT, *NAMED_ONLY):
            parser.error(f"no benchmark {name!r}; there are: {', '.join((*DEFAULT, *NAMED_ONLY))}")
    return arguments


def _summary(module: Any) -> str:
    return str(module.__doc__).strip().splitlines()[0]


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
