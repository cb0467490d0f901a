"""The runner's profiling launch with a made-up library, packed and launched for real."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.devices.local import LocalTransport
from cellfarm.measures.operators.profile import Vocabulary, read_profile

from tests.support.runner_modules import packed

RUNS = 4
INPUT = np.arange(3, dtype=np.float32)
BACKEND = """\
def import_library():
    return "9.9"
"""
#: Reports two operators; a test replaces the line of the hook.
PROFILER = """\
import os
import backend

def profile(artifact, *, processor, threads, inputs, outputs, arrays, runs, scratch):
    assert (processor, threads, inputs[0]["name"]) == ("cpu", 2, "x")
    assert arrays[0].tolist() == [0, 1, 2]
    open(os.path.join(scratch, "trace"), "w").close()
    operators = [[{"name": n, "type": "T", "node": None, "ms": 1.0 + run} for n in ("a", "b")]
             for run in range(runs)]
    pass  # hook
    return {"runs": operators, "total_ms": [9.0 + run for run in range(runs)], "method": "made up"}
"""


@pytest.fixture
def profiled(tmp_path) -> Any:
    """Launch the profiler with other code in the hook; returns the events by name, and the launch."""

    def launch(hook: str = "pass", timeout_s: float = 60) -> tuple[dict[str, Any], Any]:
        modules = [tmp_path / "backend.py", tmp_path / "profiler.py"]
        modules[0].write_text(BACKEND)
        modules[1].write_text(PROFILER.replace("pass  # hook", hook))
        np.savez(tmp_path / "inputs.npz", x=INPUT)
        transport = LocalTransport(tmp_path / "work")
        transport.prepare()
        payload = packed(tmp_path / "payloads", *modules)
        transport.put(payload, payload.name)
        request = {
            "module": "measure_operators",
            "mode": "profile",
            "artifact": str(tmp_path),
            "inputs": str(tmp_path / "inputs.npz"),
            "outputs": transport.resolve("launches/one.npz"),
            "processor": "cpu",
            "threads": 2,
            "cores": None,
            "model": {"inputs": [{"name": "x"}], "outputs": [{"name": "y"}]},
            "profile": {"runs": RUNS},
        }
        lines: list[str] = []
        launched = transport.run(
            [sys.executable, "-s", "-E", transport.resolve(payload.name)],
            stdin=json.dumps(request).encode(),
            timeout_s=timeout_s,
            variables={},
            on_line=lines.append,
        )
        transport.remove("launches/one.npz")
        assert list((tmp_path / "work" / "launches").iterdir()) == [], "nothing is left behind"
        return {event["event"]: event for event in map(json.loads, lines)}, launched

    return launch


def test_a_profile_has_every_operator_with_its_recorded_runs(profiled):
    events, launched = profiled()
    assert launched.code == 0, launched.log
    assert events["done"]["library_version"] == "9.9"
    first, second = events["operators"]["operators"]
    # The first five runs are not recorded.
    assert first == {"name": "a", "type": "T", "node": None, "ms": [6.0, 7.0, 8.0, 9.0]}
    assert second["name"] == "b"
    assert events["operators"]["total_ms"] == [14.0, 15.0, 16.0, 17.0]
    profile = read_profile(events["operators"], Vocabulary({"T": "Conv"}))
    assert (profile.sum_ms, profile.total_ms, profile.method) == (15.0, 15.5, "made up")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("operators[-1][0]['name'] = 'other'", "the operators differ from run to run"),
        ("operators[-1].pop()", "the operators differ from run to run"),
        ("operators = [[] for run in operators]", "reported no operators"),
        ("raise OSError('no profiler here')", "no profiler here"),
    ],
)
def test_what_goes_wrong_has_a_name(profiled, hook, message):
    events, launched = profiled(hook)
    assert launched.code == 1
    assert message in events["error"]["message"]
    assert "operators" not in events


def test_a_launch_that_is_killed_leaves_no_trace_on_the_device(profiled, tmp_path: Path):
    hook = f"open({str(tmp_path / 'there')!r}, 'w').close(); import time; time.sleep(600)"
    began = time.monotonic()
    _, launched = profiled(hook, timeout_s=3)
    assert launched.timed_out
    assert time.monotonic() - began < 300
    assert (tmp_path / "there").exists()
