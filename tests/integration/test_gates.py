"""Gates with the real runner on this machine: their readings, waits and cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cellfarm.devices.local import LocalTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.experiments import gates
from cellfarm.experiments.deployed import Deployed, Setting
from cellfarm.experiments.gates import Gates

from tests.support.protocols import protocol_of
from tests.support.runner_modules import packed

NO_LIMITS = {"wait_s": 0, "budget_s": 0}


class Bench:
    """A device's work folder with a payload, and the reported waits."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.lock = lock
        self.waits: list[tuple[str, float]] = []
        self.transport = LocalTransport(folder / "work")
        self.transport.prepare()
        backend = folder / "backend.py"
        backend.write_text("")
        self.put(packed(folder / "payloads", backend))

    def put(self, payload: Path) -> None:
        self.transport.remove("payload.pyz")
        self.transport.put(payload, "payload.pyz")

    def gates(self, **limits: Any) -> Gates:
        protocol = protocol_of(gates=NO_LIMITS | limits)
        setting = Setting(self.transport, protocol, self.lock)
        return Gates(setting, lambda reason, waited_s: self.waits.append((reason, waited_s)))

    def deployed(self) -> Deployed:
        return Deployed(
            python=Interpreter((sys.executable, "-s", "-E"), {}), payload="payload.pyz",
            artifact="", inputs="",
            description={}, input_arrays={}, reference={}, classes=False, variables={},
        )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with (tmp_path / "lock").open("w") as lock:
        yield Bench(tmp_path, lock.fileno())


@pytest.fixture
def busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield
    process.kill()
    process.wait()


def test_a_gate_without_limits_reads_and_lets_pass(bench: Bench):
    gates = bench.gates()
    readings = gates.pass_through(bench.deployed(), 1, None)
    assert (readings["exceeded"], readings["waited_s"], bench.waits) == ([], 0.0, [])
    assert readings["calibration"]["compute_ms"] > 0 and readings["calibration"]["memory_ms"] > 0
    assert "python" in readings["identity"].lower()
    assert readings["other_cpu_cores"] >= 0
    assert gates.reference_ms[1] > 0


def test_work_of_others_is_waited_for_and_then_told(bench: Bench, busy_core: None):
    gates = bench.gates(other_cpu_cores=0.2, wait_s=6, budget_s=100)
    readings = gates.pass_through(bench.deployed(), 1, None)
    assert "load" in readings["exceeded"] and readings["other_cpu_cores"] > 0.2
    assert 0 < readings["waited_s"] < 9 and gates.waited_s == readings["waited_s"]
    assert bench.waits and "load" in bench.waits[0][0] and bench.waits[0][1] >= 1


def test_an_experiment_waits_no_longer_than_its_budget(bench: Bench, busy_core: None):
    gates = bench.gates(other_cpu_cores=0.2, wait_s=0.7, budget_s=1.0)
    for _ in range(4):
        assert "load" in gates.pass_through(bench.deployed(), 1, None)["exceeded"]
    assert gates.waited_s < 3


def test_a_limit_of_none_is_ignored(bench: Bench, busy_core: None):
    gates = bench.gates(other_cpu_cores=None, slowdown=None, wait_s=5, budget_s=5)
    assert gates.pass_through(bench.deployed(), 1, None)["exceeded"] == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import time; time.sleep(600)", "the gate timed out"),
        ("raise SystemExit(3)", "the gate ended with code 3"),
        (
            "print('{\"event\": \"gate\"'); print('[1]'); print('\\xff')",
            "the gate ended with code 0",
        ),
    ],
    ids=["hangs", "ends", "garbage"],
)
def test_a_gate_that_does_not_answer_is_told_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: str, problem: str
):
    monkeypatch.setattr(gates, "GRACE_S", 1.0)
    broken = bench.folder / "broken.py"
    broken.write_text(code)
    bench.put(broken)
    readings = bench.gates().pass_through(bench.deployed(), 1, None)
    assert readings["problem"].startswith(problem)


def test_readings_that_do_not_fit_are_left_out(bench: Bench):
    program = bench.folder / "liar.py"
    program.write_text(
        'print(\'{"event": "gate", "exceeded": ["load", "x", 3], "calibration": {"compute_ms":'
        ' NaN, "memory_ms": "5"}, "temperatures_c": 7, "waited_s": true, "governor": [1]}\')\n'
    )
    bench.put(program)
    readings = bench.gates().pass_through(bench.deployed(), 1, None)
    assert readings["exceeded"] == ["load"]
    assert readings["calibration"] == readings["temperatures_c"] == {}
    assert readings["waited_s"] is None
