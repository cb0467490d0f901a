"""The arithmetic of a farm's benchmarks, and their links and transports; without devices."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.busy import Stay, gaps_s, most_at_once, read_log, shares
from benchmarks.farm import is_verified, share, times_s
from benchmarks.simulated_farm import _probe
from benchmarks.timed_transport import CountingLink, TimedTransport
from benchmarks.tun_link import Way, carry
from tests.support.projects import REPOSITORY


def test_a_device_s_time_is_shared_out_and_nothing_is_lost():
    stays = {
        "one": [Stay("gate", 1, 10, 11), Stay("measure", 1, 12, 18), Stay("measure", 2, 20, 26)],
        "other": [Stay("measure", 3, 10, 30)],
        "never there": [],
    }
    parts = shares(stays, 0, 40)
    assert parts.busy == pytest.approx((13 + 20) / 120)
    assert parts.before == pytest.approx((10 + 10 + 40) / 120)
    assert parts.within == pytest.approx(1 / 120)
    assert parts.between == pytest.approx(2 / 120)
    assert parts.after == pytest.approx((14 + 10) / 120)
    assert sum(vars(parts).values()) == pytest.approx(1)
    assert gaps_s(stays.values(), within=True) == [1]
    assert gaps_s(stays.values(), within=False) == [2]
    assert most_at_once(stays.values()) == 2


def test_stays_that_touch_are_not_at_once():
    assert most_at_once([[Stay("gate", 1, 0, 1), Stay("measure", 1, 1, 2)]]) == 1
    assert most_at_once([]) == 0


def test_the_sleeping_runner_says_what_an_experiment_needs_and_logs_its_stay(tmp_path):
    """Its events are read as cellfarm does, and its log as the benchmark does."""
    from cellfarm.experiments.events import Record

    (tmp_path / "payloads").mkdir()
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/measure.npz").write_bytes(b"outputs")
    payload = tmp_path / "payloads/x.pyz"
    payload.write_text((REPOSITORY / "benchmarks/sleeping_runner.py").read_text())
    request = {
        "mode": "measure", "artifact": str(tmp_path / "artifact"), "outputs": str(tmp_path / "out"),
        "samples": {"min": 30, "max": 30, "seconds": 0.3},
    }  # fmt: skip
    started_ns = time.monotonic_ns()
    completed = subprocess.run(
        [sys.executable, str(payload)], input=json.dumps(request), text=True, check=True,
        capture_output=True, env=os.environ | {"CELLFARM_SPAWNED_NS": str(started_ns)},
    )  # fmt: skip
    record = Record("measure")
    for line in completed.stdout.splitlines():
        record.take(line)
    document = record.finish(completed.returncode, False, 10)
    assert (document["status"], len(document["samples_ms"])) == ("ok", 30)
    assert (tmp_path / "out").read_bytes() == b"outputs"
    (stay,) = read_log((tmp_path / "launches.log").read_text())
    assert (stay.mode, stay.agent) == ("measure", os.getpid())
    assert stay.began_s == started_ns / 1e9 and stay.ended_s - stay.began_s >= 0.3


def test_the_snakefile_says_when_it_begins_to_run_jobs(tmp_path):
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text((REPOSITORY / "Snakefile").read_text())
    _probe(snakefile)
    assert "monotonic_ns" in snakefile.read_text()


def result(device: str = "phone", status: str = "ok", **summary: Any) -> dict[str, Any]:
    return {"cell": {"device": device}, "status": status, "summary": summary}


def test_only_what_was_compared_is_verified():
    verified = result(cosine=1.0, heldout_cosine=1.0)
    assert is_verified(verified)
    assert not is_verified(result(cosine=1.0, heldout_cosine=None))
    assert not is_verified(result(status="wrong", cosine=0.5, heldout_cosine=0.5))
    assert not is_verified(result(status="failed"))
    assert share([verified, result(status="failed")], is_verified, 4) == 25.0
    assert share([], is_verified) == 0.0


def test_experiments_of_a_device_add_up():
    def record(device: str, began: str, ended: str) -> dict[str, str]:
        day = "2026-11-22T10:"
        return {"device": device, "started_at": f"{day}{began}", "ended_at": f"{day}{ended}"}

    totals_s = times_s([
        record("a", "00:00+00:00", "01:00+00:00"), record("a", "02:00+00:00", "02:30+00:00"),
        record("b", "00:00+00:00", "00:10+00:00"),
    ])  # fmt: skip
    assert totals_s == {"a": 90.0, "b": 10.0}


@pytest.fixture
def packets() -> Iterator[tuple[Way, socket.socket, socket.socket]]:
    """A way from one socket to another; each message is a packet."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    (outer_in, inner_in), (inner_out, outer_out) = pairs
    inner_in.setblocking(False)
    way = Way(inner_in.fileno(), inner_out.fileno(), 0.05, 0.0, random.Random(0))
    yield way, outer_in, outer_out
    for pair in pairs:
        for end in pair:
            end.close()


def test_packets_come_late_and_in_order(packets, capsys):
    way, sender, receiver = packets
    reading, writing = os.pipe()
    with open(reading) as commands:
        thread = threading.Thread(target=carry, args=([way], commands))
        thread.start()
        sent_s = time.monotonic()
        for number in range(20):
            sender.send(b"%d" % number)
        receiver.settimeout(10)
        assert [receiver.recv(100) for _ in range(20)] == [b"%d" % n for n in range(20)]
        assert time.monotonic() - sent_s >= 0.05
        os.write(writing, b"count\n")
        os.close(writing)
        thread.join(10)
    assert json.loads(capsys.readouterr().out) == {"carried": 20, "dropped": 0}


def test_the_share_of_lost_packets_is_what_was_asked_for(packets):
    way, sender, _ = packets
    way.loss = 0.1
    for _ in range(200):
        for _ in range(5):
            sender.send(b"x")
        way.take_in(0.0)
    assert way.carried + way.dropped == 1000
    assert 60 <= way.dropped <= 140
    assert way.waiting[0] == (0.05, b"x")


def test_a_timed_transport_leaves_all_to_the_other():
    class Inner:
        is_host = False

        def put(self, source: Path, name: str) -> bool:
            time.sleep(0.02)
            return True

        def run(self) -> None:
            raise ValueError

    seconds_by_call: dict[str, float] = {}
    transport: Any = TimedTransport(Inner(), seconds_by_call)  # type: ignore[arg-type]
    assert transport.is_host is False
    assert transport.put(Path("x"), "y") and transport.put(Path("x"), "y")
    with pytest.raises(ValueError):
        transport.run()
    assert seconds_by_call["put"] >= 0.04 and seconds_by_call["run"] >= 0


def test_pushed_files_are_counted(tmp_path):
    class Inner:
        def push(self, source: Path, destination: str) -> None:
            assert destination == "there"

    (tmp_path / "x").write_bytes(b"12345")
    link = CountingLink(Inner())  # type: ignore[arg-type]
    link.push(tmp_path / "x", "there")
    assert link.pushed_bytes == [5]
