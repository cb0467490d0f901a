"""A farm of two virtual phones, a virtual board and this machine: the whole pipeline on all of them.

`snakemake measured` in a copy of the checkout with results of its own: the config's models, FP32, one
thread, the libraries that have builds for arm64 Linux, protocol `verify`, with a longer limit to a launch,
fewer samples and fewer held-out inputs: the phones run arm64 programs under qemu, where an inference takes
seconds to minutes. Nothing is pinned, as all virtual devices would be to this machine's first processor.
Their cells and the board's are marked `emulated` and have no latency: the figures are which of them ran and
whether their outputs are the reference's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from cellfarm.virtual.starting import virtual_board, virtual_phone

from .figures import Baseline, Figure, NotMeasurable, Options, keep_raw, shown
from .own_adb import own_adb_server
from .project_copy import open_copy

HOST = "host"
PHONES, BOARD = ("bench_phone_1", "bench_phone_2"), "bench_board"
LIBRARIES = ("litert", "ncnn", "mnn", "onnxruntime")
SMALLEST = "squeezenet1_1"
PROTOCOL = "verify_emulated"
PATIENT = {"affinity": "none", "launch_timeout_s": 1200}

Result = Mapping[str, Any]


def measure(options: Options) -> list[Figure]:
    phones = PHONES[:1] if options.quick else PHONES
    libraries = LIBRARIES[1:2] if options.quick else LIBRARIES
    with open_copy("farm") as copy, own_adb_server(), ExitStack() as stack:
        started = [
            *(stack.enter_context(virtual_phone(copy.project, name)) for name in phones),
            stack.enter_context(virtual_board(copy.project, BOARD)),
        ]
        for device in started:
            copy.add_device(device.document)
        protocol = copy.read("config/protocols/verify.yaml")
        protocol["measures"]["latency"]["samples"] = {"min": 1, "max": 3, "seconds": 0.1}
        protocol["measures"]["quality"] = {"samples": 4}
        copy.write(f"config/protocols/{PROTOCOL}.yaml", protocol | PATIENT)
        names = [*(device.document["name"] for device in started), HOST]
        config = [
            "--config", f"devices={','.join(names)}", f"libraries={','.join(libraries)}",
            "variants=fp32", "processors=cpu", "threads=1", f"protocol={PROTOCOL}",
        ]  # fmt: skip
        models = [SMALLEST] if options.quick else list(copy.read("config/config.yaml")["models"])
        config.append(f"models={','.join(models)}")
        cell_count = len(names) * len(libraries) * len(models)
        print("  making environments and artifacts ...", flush=True)
        prepared = copy.snakemake("converted", *config)
        print(f"  made in {prepared.wall_s:.0f} s; measuring {cell_count} cells ...", flush=True)
        measured = copy.snakemake("measured", *config)
        results, records = copy.results(), copy.records()
    if not results:
        raise NotMeasurable(f"no cell was measured:\n{measured.output[-3000:]}")
    keep_raw(
        "farm", options, {"results": [_brief(device) for device in results], "records": records}
    )
    return _figures(results, records, cell_count, measured.wall_s)


def _figures(
    results: Sequence[Result], records: Sequence[Result], cell_count: int, wall_s: float
) -> list[Figure]:
    local = [result for result in results if result["cell"]["device"] == HOST]
    remote = [result for result in results if result["cell"]["device"] != HOST]
    lost = [f"{result['device']}: {result['lost']}" for result in records if "lost" in result]
    spans_s = times_s(records)
    return [
        Figure(
            what=f"cells `ok`, of {cell_count}",
            value=share(results, is_ok, cell_count),
            unit="%",
            least=100.0,
            baselines=[Baseline("this machine's", share(local, is_ok), "%")],
            details={
                **_by_device(results),
                "not ok": "; ".join(_failure(result) for result in results if not is_ok(result))
                or "none",
                "devices that dropped out": "; ".join(lost) or "none",
            },
        ),
        Figure(
            what="cells whose outputs were compared with the reference's and are within tolerance",
            value=share(results, is_verified, cell_count),
            unit="%",
            least=100.0,
            baselines=[Baseline("this machine's", share(local, is_verified), "%")],
        ),
        Figure(
            what="remote cells that are marked as emulated",
            value=share(remote, lambda result: bool(result["emulated"])),
            unit="%",
            least=100.0,
        ),
        Figure(
            what="wall time of `snakemake measured`, all devices at once",
            value=wall_s / 60,
            unit="min",
            baselines=[
                Baseline("the devices' own times, added up", sum(spans_s.values()) / 60, "min")
            ],
            details={name: f"{shown(seconds / 60)} min" for name, seconds in spans_s.items()},
        ),
    ]


def share(results: Sequence[Result], condition: Callable[[Result], bool], count: int = 0) -> float:
    """The share of results that meet a condition, in percent of `count` or of the results."""
    total = count or len(results)
    return 100.0 * sum(condition(result) for result in results) / total if total else 0.0


def is_ok(result: Result) -> bool:
    return bool(result["status"] == "ok")


def is_verified(result: Result) -> bool:
    """Whether the outputs for the input and for the held-out ones were compared and are right."""
    summary = result["summary"]
    compared = all(summary.get(name) is not None for name in ("cosine", "heldout_cosine"))
    return is_ok(result) and compared


def times_s(records: Sequence[Result]) -> dict[str, float]:
    """Seconds of each device's experiments, without their waiting for the device."""
    total_s: dict[str, float] = {}
    for record in records:
        began, ended = (datetime.fromisoformat(record[name]) for name in ("started_at", "ended_at"))
        total_s[record["device"]] = (
            total_s.get(record["device"], 0.0) + (ended - began).total_seconds()
        )
    return total_s


def _by_device(results: Sequence[Result]) -> dict[str, str]:
    names = sorted({result["cell"]["device"] for result in results})
    counts = {
        name: Counter(result["status"] for result in results if result["cell"]["device"] == name)
        for name in names
    }
    return {
        name: ", ".join(f"{n} {status}" for status, n in statuses.items())
        for name, statuses in counts.items()
    }


def _failure(result: Result) -> str:
    cell = result["cell"]
    return f"{cell['device']} {cell['model']} {cell['library']}: {result['status']}: {result['reason']}"


def _brief(result: Result) -> dict[str, Any]:
    names = ("cell", "status", "reason", "flags", "emulated", "summary")
    return {name: result[name] for name in names}
