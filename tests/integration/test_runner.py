"""Launches the real runner with made-up libraries: every failure has a name."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.devices.local import LocalTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.launch import launch
from cellfarm.measures import all_measures
from cellfarm.measures.quality.comparison import Comparison

from tests.support.protocols import SMALLEST, asked, protocol_of, with_measures
from tests.support.results import make_cell
from tests.support.runner_modules import RUNNER, packed

PROTOCOL: dict[str, Any] = with_measures(latency={"samples": {"min": 3, "max": 5, "seconds": 0}})
CELL = make_cell(threads=2)
INPUT = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6)
HELDOUT = np.stack([INPUT * factor for factor in (1, 2, -3)])

#: A library that doubles its input. A test replaces the line of a hook by other code.
BACKEND = """\
import ctypes, os, subprocess, sys, time
import numpy as np

class Session:
    def __init__(self, artifact, *, processor, threads, inputs, outputs):
        self.settings = {"threads": threads, "provider": processor, "artifact": os.path.basename(artifact),
                         "omp": os.environ.get("OMP_NUM_THREADS"), "mine": os.environ.get("MINE")}
        pass  # load
    def actual(self):
        return self.settings
    def set_inputs(self, arrays):
        (self.array,) = arrays
    def invoke(self):
        pass  # invoke
        self.result = self.array * 2
    def get_outputs(self):
        pass  # outputs
        return [self.result]

def import_library():
    pass  # import
    return "9.9"
"""

Launch = Callable[..., dict[str, Any]]


@pytest.fixture
def launched(tmp_path) -> Launch:
    """Launch a made-up library with code in its hooks and changes of the protocol and its measures."""

    def launch_library(
        hooks: dict[str, str] | None = None,
        *,
        scratch: str = "launches/one",
        mode: str = "measure",
        cores: list[int] | None = None,
        measures: dict[str, Any] | None = None,
        **protocol: Any,
    ) -> dict[str, Any]:
        document = with_measures(PROTOCOL, **(measures or {})) | protocol
        text = BACKEND
        for hook, code in (hooks or {}).items():
            (line,) = [line for line in BACKEND.splitlines() if line.endswith(f"# {hook}")]
            indent = line[: len(line) - len(line.lstrip())]
            text = text.replace(line, textwrap.indent(code, indent))
        number = len(list(tmp_path.glob("backend-*")))
        backend = tmp_path / f"backend-{number}" / "backend.py"
        backend.parent.mkdir()
        backend.write_text(text)
        artifact = tmp_path / "artifact"
        artifact.mkdir(exist_ok=True)
        (artifact / "model.bin").write_bytes(b"weights" * 1000)
        np.savez(tmp_path / "inputs.npz", x=INPUT)
        np.savez(tmp_path / "heldout.npz", x=HELDOUT)
        transport = LocalTransport(tmp_path / "work")
        transport.prepare()
        payload = packed(tmp_path / "payloads", backend)
        transport.put(payload, payload.name)
        transport.put(artifact, "artifact")
        for name in ("inputs.npz", "heldout.npz"):
            transport.put(tmp_path / name, name)
        deployed = Deployed(
            python=Interpreter((sys.executable, "-s", "-E"), {}),
            payload=payload.name,
            artifact="artifact",
            inputs="inputs.npz",
            heldout="heldout.npz",
            heldout_reference={"y": HELDOUT * 2},
            description={"name": "m", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]},
            input_arrays={"x": INPUT},
            reference={"y": INPUT * 2},
            classes=True,
            variables={"MINE": "set"},
        )
        with (tmp_path / "lock").open("w") as lock:
            record = launch(
                Setting(transport, protocol_of(document), lock.fileno()), deployed, CELL,
                **asked(document, mode), cores=cores, scratch=scratch,
            )  # fmt: skip
        json.dumps(record, allow_nan=False)  # the journal must take it
        assert list((tmp_path / "work" / "launches").iterdir()) == [], (
            "nothing is left on the device"
        )
        return record

    return launch_library


def samples(**counts: float) -> dict[str, Any]:
    return {"latency": {"samples": counts}}


def verdict(record: dict[str, Any]) -> tuple[str, str | None]:
    return record["status"], record["reason"]


def test_a_good_launch_measures_every_phase(launched):
    record = launched()
    assert verdict(record) == ("ok", None)
    assert set(record["phases"]) == {"start", "import", "read", "load", "first"}
    assert all(ms >= 0 for ms in record["phases"].values())
    assert len(record["warmup_ms"]) + len(record["warm_ms"]) == 3
    assert record["library_version"] == "9.9"
    memory = record["resources"]
    assert memory["peak_load_rss_mb"] >= memory["load_rss_mb"] > 1
    assert memory["peak_inference_rss_mb"] > 1
    assert record["comparison"] == Comparison(1.0, 0.0, 0.0, True).as_dict()
    assert "log" not in record


def test_a_launch_gets_its_settings_and_not_the_users_variables(launched, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert launched()["actual"] == {
        "threads": 2, "provider": "cpu", "artifact": "artifact", "omp": None, "mine": "set",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["cold", "start"])
def test_a_start_ends_with_the_first_inference(launched, mode: str):
    record = launched(mode=mode)
    assert verdict(record) == ("ok", None)
    assert set(record["phases"]) == {"start", "import", "read", "load", "first"}
    assert "warm_ms" not in record and record["comparison"]["problem"] is None
    assert 0 <= record["page_cache_share"] <= 1


def test_spaced_inferences_begin_at_their_interval(launched):
    record = launched(
        {"invoke": "time.sleep(0.001)"},
        measures={
            "latency": None,
            "spaced": SMALLEST["measures"]["latency"]
            | {"interval_ms": 40, "samples": {"min": 5, "max": 5, "seconds": 0}},
        },
    )  # fmt: skip
    assert len(record["warmup_ms"] + record["warm_ms"]) == 5
    assert record["seconds"] >= 0.2 and max(record["warm_ms"]) < 40


def test_a_launch_runs_where_it_is_told_and_says_so(launched):
    core = min(os.sched_getaffinity(0))
    record = launched(
        {"load": "self.settings['cores'] = len(os.sched_getaffinity(0))"}, cores=[core]
    )
    assert record["affinity"] == record["asked_cores"] == [core]
    assert record["actual"]["cores"] == 1


def test_the_sampler_tells_what_the_process_used(launched):
    record = launched(
        {"invoke": "end = time.monotonic() + 0.02\nwhile time.monotonic() < end: pass"},
        conditions={"interval_ms": 20}, measures=samples(min=20, max=20, seconds=0),
    )  # fmt: skip
    conditions = record["conditions"]
    assert len(conditions["t_s"]) >= 5 and conditions["t_s"] == sorted(conditions["t_s"])
    assert max(conditions["metrics"]["rss_mb"]) > 1
    assert 0 <= record["resources"]["sampler_cpu_share"] < 0.5


def test_phases_and_samples_are_timed_where_they_happen(launched):
    record = launched(
        {"import": "time.sleep(0.3)", "load": "time.sleep(0.2)", "invoke": "time.sleep(0.05)"}
    )
    phases = record["phases"]
    assert phases["import"] >= 300 and phases["load"] >= 200 and phases["first"] >= 50
    assert min(record["warm_ms"] + record["warmup_ms"]) >= 50


def test_samples_end_at_the_maximum_or_with_the_time_whichever_is_first(launched):
    quick = launched(measures=samples(min=3, max=5, seconds=600))
    assert len(quick["warm_ms"] + quick["warmup_ms"]) == 5
    slow = launched(
        {"invoke": "time.sleep(0.05)"}, measures=samples(min=2, max=10_000, seconds=0.2)
    )
    assert 2 <= len(slow["warm_ms"] + slow["warmup_ms"]) <= 5


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library",
         "the library cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise ImportError('libx.so.1: cannot open')",
         "the library cannot be imported: ImportError: libx.so.1: cannot open"),
        ("raise RuntimeError('old\\nCPU')", "in phase import: RuntimeError: old CPU"),
        ("sys.exit(3)", "in phase import: SystemExit: 3"),
        ("raise OSError('weights-\\udcff.bin')", "in phase import: OSError: weights-?.bin"),
    ],
    ids=str,
)  # fmt: skip
def test_a_library_that_cannot_be_imported(launched, code: str, reason: str):
    record = launched({"import": code})
    assert verdict(record) == ("failed", reason)
    assert "Traceback" in record["log"] and "comparison" not in record


def test_a_library_whose_module_is_broken_fails_too(launched):
    record = launched({"import": "this is no Python"})
    assert record["status"] == "failed" and "SyntaxError" in record["reason"]


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        ({"load": "ctypes.string_at(0)"}, "killed by SIGSEGV in phase load"),
        ({"invoke": "os.abort()"}, "killed by SIGABRT in phase first"),
        ({"load": "os.kill(os.getpid(), 9)"}, "killed by SIGKILL in phase load"),
        ({"load": "os._exit(0)"}, "ended with code 0 in phase load, before its work was done"),
        ({"outputs": "os._exit(7)"}, "ended with code 7 in phase first"),
        ({"load": "raise ValueError('unsupported operator')"},
         "in phase load: ValueError: unsupported operator"),
        ({"load": "raise MemoryError"}, "in phase load: MemoryError:"),
        ({"outputs": "return []"},
         "in phase first: RuntimeError: the library gave 0 outputs, the model has 1"),
        ({"outputs": "return [self.result, self.result]"},
         "in phase first: RuntimeError: the library gave 2 outputs, the model has 1"),
    ],
    ids=str,
)  # fmt: skip
def test_a_library_that_dies_says_how_and_where(launched, hooks: dict[str, str], reason: str):
    record = launched(hooks)
    assert verdict(record) == ("failed", reason)


def test_a_crash_while_warm_is_named_after_that_phase(launched):
    code = "self.count = getattr(self, 'count', 0) + 1\nif self.count > 2: ctypes.string_at(0)"
    record = launched({"invoke": code})
    assert verdict(record) == ("failed", "killed by SIGSEGV in phase series")
    assert record["warmup_ms"] == record["warm_ms"] == []


def test_a_hang_is_a_timeout(launched):
    record = launched({"load": "time.sleep(600)"}, launch_timeout_s=4)
    assert verdict(record) == ("timeout", "no end within 4 s (in phase load)")


def test_a_crash_after_the_work_is_done_does_not_matter(launched):
    crash = "import atexit; atexit.register(ctypes.string_at, 0)"
    assert launched({"import": crash})["status"] == "ok"


NOISE = """\
print('{"event": "error", "kind": "Forged", "message": "by the library"}', flush=True)
print('{"event": "end"}')
sys.stdout.flush()
os.write(1, b'\\xff\\xfe garbage without an end')
ctypes.CDLL(None).puts(b'{"event": "samples", "phase": "warm", "ms": [0.001]}')
subprocess.run(["echo", "a child talks"])
os.write(2, b'\\xf0 bytes')"""


def test_what_a_library_prints_is_no_event(launched):
    record = launched(dict.fromkeys(("import", "load", "invoke", "outputs"), NOISE))
    assert verdict(record) == ("ok", None)
    samples = record["warmup_ms"] + record["warm_ms"]
    assert len(samples) == 3 and min(samples) > 0.001


def test_garbage_among_the_events_never_breaks_the_host(launched):
    """The library writes to every open pipe: only events may be lost."""
    code = (
        "for descriptor in range(3, 20):\n"
        "    try: os.write(descriptor, b'\\xff\\x00{\"event\": [\\n' + b'[' * 3000)\n"
        "    except OSError: pass"
    )
    record = launched({"invoke": code})
    assert record["status"] in ("ok", "failed")


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("return [self.result[:, :5]]", "the output 'y' has shape [1, 5], the reference [1, 6]"),
        ("return [self.result * np.nan]", "the output 'y' has values that are not finite"),
        ("return [self.result * 0]", "the output 'y' is constant"),
        ("return [self.array]", "the output 'y' equals the input 'x'"),
        ("return [np.array([['text'] * 6])]", "the output 'y' is no array of real numbers"),
        ("return [np.array([{}], dtype=object)]", "the outputs cannot be read: "),
        ("return [None]", "the outputs cannot be read: "),
    ],
    ids=str,
)  # fmt: skip
def test_an_output_that_is_wrong_is_told_apart_from_a_failure(launched, code: str, problem: str):
    record = launched({"outputs": code})
    assert verdict(record) == ("ok", None)  # it ran; the comparison decides
    assert record["comparison"]["problem"].startswith(problem)


def test_an_output_that_is_off_is_measured(launched):
    comparison = launched({"outputs": "return [self.result * 2]"})["comparison"]
    assert comparison["cosine"] == pytest.approx(1.0)
    assert comparison["max_relative_error"] == pytest.approx(1.0)
    assert launched({"outputs": "return [-self.result]"})["comparison"]["top1_match"] is False


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a zip application has no package"
            names.add(str(node.module).partition(".")[0])
    return names


def test_the_runner_needs_the_standard_library_numpy_and_the_back_end_alone():
    modules = sorted(RUNNER.glob("*.py"))
    runner_modules = {path.stem for path in modules}
    assert {"__main__", "phases", "series"} <= runner_modules
    modules += [measure.folder / "device.py" for measure in all_measures().values()]
    for path in modules:
        unexpected = (
            _imported(path)
            - sys.stdlib_module_names
            - runner_modules
            - {"numpy", "backend", "profiler"}
        )
        assert not unexpected, f"{path} imports {unexpected}"


def test_numpy_is_imported_after_the_library_was_timed():
    """A library's import time must not depend on the runner's import of numpy."""
    halves = [measure.folder / "device.py" for measure in all_measures().values()]
    for path in [*RUNNER.glob("*.py"), *halves]:
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert "numpy" not in names, f"{path.name} imports numpy at its top"


def test_the_launch_inherits_the_lock(launched, tmp_path):
    inode = "self.settings['inode'] = [os.fstat(n).st_ino for n in range(3, 60) if os.path.exists(f'/proc/self/fd/{n}')]"  # noqa: E501
    inodes = launched({"load": inode})["actual"]["inode"]
    assert os.stat(tmp_path / "lock").st_ino in inodes


def test_held_out_inputs_are_run_and_compared(launched):
    record = launched(mode="quality", measures={"quality": {"samples": 16}})
    assert verdict(record) == ("ok", None)
    quality = record["quality"]
    assert (quality["samples"], quality["cosine"], quality["top1_agreement"]) == (3, 1.0, 1.0)
    assert "comparison" not in record and "warm_ms" not in record


def test_fewer_held_out_inputs_may_be_asked_for(launched):
    assert launched(mode="quality", measures={"quality": {"samples": 2}})["quality"]["samples"] == 2


def test_outputs_in_memory_that_is_used_again_are_copied(launched):
    code = """\
self.buffer = getattr(self, "buffer", np.empty((1, 6), np.float32))
self.buffer[:] = self.result
self.result = self.buffer
"""
    record = launched({"outputs": code}, mode="quality", measures={"quality": {"samples": 16}})
    assert record["quality"]["cosine"] == 1.0


def test_a_quality_that_is_off_is_told(launched):
    code = "self.array = self.array + (self.array.max() > 1)"
    record = launched({"invoke": code}, mode="quality", measures={"quality": {"samples": 16}})
    assert verdict(record) == ("ok", None) and record["quality"]["sqnr_db"] < 10


def test_an_emulated_processor_is_not_timed(launched):
    record = launched({"load": "self.settings['emulated'] = True"})
    assert verdict(record) == ("ok", None) and record["emulated"] is True
    assert record["warm_ms"] == [] and record["comparison"]["cosine"] == 1.0


def test_a_refusal_of_the_library_is_unsupported_and_no_fault(launched):
    code = "from refusal import Unsupported\nraise Unsupported('no gpu back end in this build')"
    assert verdict(launched({"load": code})) == ("unsupported", "no gpu back end in this build")


@pytest.mark.parametrize(
    "module", ["subprocess", "phases", "measure_x.y", "../measure_x", "gate\n"]
)
def test_a_request_names_no_module_but_a_device_half_or_the_gate(tmp_path, module: str):
    payload = packed(tmp_path / "payloads")
    completed = subprocess.run(
        [sys.executable, payload], input=json.dumps({"module": module}), text=True,
        capture_output=True, env={"CELLFARM_SPAWNED_NS": "0"}, timeout=60, check=False,
    )  # fmt: skip
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "error"]
    assert (events[1]["kind"], events[1]["message"]) == ("ValueError", f"no module {module!r}")
