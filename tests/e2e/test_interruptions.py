"""Killed at any moment, the farm resumes: nothing finished is lost, nothing torn, nothing left running."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest
from cellfarm.base.locking import file_lock, machine_lock_path

from tests.support.farm import ALL, PROTOCOL, Farm, kill_group
from tests.support.protocols import with_measures

pytestmark = pytest.mark.pipeline

#: More and longer launches, so that there is something to interrupt.
LAUNCHES = 5
SLOW = with_measures(
    PROTOCOL,
    latency={
        "launches": {"min": LAUNCHES, "max": LAUNCHES},
        "samples": {"min": 3, "max": 1000, "seconds": 0.15},
    },
    cold_start={"launches": 1},
    operators={"runs": 2},
)


@pytest.fixture
def slow_farm(farm: Farm) -> Farm:
    """A farm with artifacts, whose cells are all stale under a slower protocol."""
    farm.write("config/protocols/slow.yaml", SLOW)
    farm.configure(protocol="slow")
    return farm


def launch_sessions(farm: Farm) -> list[list[str]]:
    """For each current result, the measuring processes of its own launches."""
    current = farm.query(
        "SELECT result FROM results JOIN result_keys USING (path) WHERE is_current"
    )
    keys = {row["result"] for row in current}
    documents = [
        json.loads(path.read_text()) for path in (farm.root / "results/cells").rglob("*.json")
    ]
    return [
        [launch["session"] for launch in document["launches"] if "shared_with" not in launch]
        for document in documents
        if document["key"] in keys
    ]


def journaled_sessions(farm: Farm) -> set[str]:
    """The measuring processes of the launches in journals."""
    lines = [
        json.loads(line)
        for path in (farm.root / "results/journal").rglob("*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]
    return {line["session"] for line in lines if "session" in line}


def reused(farm: Farm, sessions: set[str]) -> int:
    """The number of launches of the current results that those processes measured."""
    return sum(
        session in sessions
        for result_sessions in launch_sessions(farm)
        for session in result_sessions
    )


def assert_complete(farm: Farm) -> None:
    rows = farm.query("FROM cells")
    assert {f"{row['model']} {row['library']}" for row in rows} == ALL
    assert {(row["status"], row["launches"]) for row in rows} == {("ok", 5)}
    assert not list((farm.root / "results/journal").rglob("*.jsonl"))
    farm.assert_store_whole()


def test_a_killed_run_resumes_with_the_launches_it_has(slow_farm: Farm) -> None:
    run = slow_farm.start("measured")
    slow_farm.wait_for(lambda: slow_farm.journaled() >= 5)
    kill_group(run)
    run.wait()
    slow_farm.assert_no_processes()
    journaled, sessions = slow_farm.journaled(), journaled_sessions(slow_farm)
    slow_farm.assert_store_whole()
    slow_farm.run("measured")
    assert_complete(slow_farm)
    assert reused(slow_farm, sessions) >= journaled >= 5


def test_killed_again_and_again_at_random_moments(slow_farm: Farm) -> None:
    moments = random.Random(7)
    for _ in range(5):
        before = slow_farm.journaled()
        results = len(slow_farm.result_files())
        run = slow_farm.start("measured")
        time.sleep(1.5 + moments.random() * 3)
        kill_group(run)
        run.wait()
        slow_farm.assert_no_processes()
        slow_farm.assert_store_whole()
        # A journal only shrinks because its cell was committed.
        assert slow_farm.journaled() >= before or len(slow_farm.result_files()) > results
    slow_farm.run("measured")
    assert_complete(slow_farm)


def test_snakemake_alone_killed_leaves_the_device_to_who_measures(slow_farm: Farm) -> None:
    run = slow_farm.start("measured")
    slow_farm.wait_for(lambda: slow_farm.journaled() >= 2)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    slow_farm.run("measured")  # waits for the orphan's experiment, then does the rest
    assert_complete(slow_farm)
    slow_farm.assert_no_processes()


def test_a_step_that_outlives_its_snakemake_is_gone_on_from(farm: Farm) -> None:
    farm.add_model("late", "squeezenet1_1", size=48)
    farm.forget_steps("late")
    farm.configure(models=["late", "small_mobilenet"], libraries=["onnxruntime"])
    models = farm.root / "results/models/late"
    run = farm.start("measured")
    farm.wait_for(lambda: any(models.glob(".*.tmp")))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    farm.wait_for(lambda: any(models.glob("*/record.json")))
    farm.run("measured")
    assert {row["status"] for row in farm.query("FROM cells WHERE model = 'late'")} == {"ok"}


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)],
    ids=["Ctrl-C", "SIGINT to snakemake", "SIGTERM to snakemake"],
)
def test_an_interrupt_leaves_no_process_and_a_whole_store(
    slow_farm: Farm, number: signal.Signals, whole_group: bool
) -> None:
    run = slow_farm.start("measured")
    slow_farm.wait_for(lambda: slow_farm.journaled() >= 3)
    if whole_group:
        kill_group(run, number)
    else:
        os.kill(run.pid, number)
    assert run.wait(timeout=120) != 0
    slow_farm.assert_no_processes()
    slow_farm.assert_store_whole()
    slow_farm.run("measured")
    assert_complete(slow_farm)


def test_a_second_run_in_the_same_folder_is_refused(slow_farm: Farm) -> None:
    run = slow_farm.start("measured")
    slow_farm.wait_for(lambda: slow_farm.journaled() >= 1)
    second = slow_farm.run("measured", code=2)
    assert "another run is at work in this folder" in second.stdout
    assert "Traceback" not in second.stdout
    assert slow_farm.run("-n").returncode == 0
    assert run.wait(timeout=300) == 0
    assert_complete(slow_farm)


def test_two_folders_never_measure_this_machine_at_once(slow_farm: Farm, tmp_path: Path) -> None:
    other_farm = slow_farm.copy(tmp_path / "other")
    runs = [slow_farm.start("measured"), other_farm.start("measured")]
    assert [run.wait(timeout=400) for run in runs] == [0, 0]
    spans = []
    for farm in (slow_farm, other_farm):
        assert_complete(farm)
        for path in (farm.root / "results/experiments").rglob("*.json"):
            document = json.loads(path.read_text())
            if len(document["rounds"]) == LAUNCHES:  # not the first run, which made it
                spans.append((document["started_at"], document["ended_at"]))
    assert len(spans) == 4
    spans.sort()
    for (_, ended), (started, _) in pairwise(spans):
        assert ended <= started


def test_conversions_wait_while_this_machine_is_measured(farm: Farm, tmp_path: Path) -> None:
    farm.add_model("another", "squeezenet1_1", size=48)
    farm.forget_steps("another")
    farm.configure(models=["another"], libraries=["onnxruntime"])
    with file_lock(machine_lock_path("host")):  # as a measuring process holds it
        run = farm.start("measured")
        log = farm.root / "started.log"
        farm.wait_for(lambda: log.is_file() and "waiting until process" in log.read_text())
        assert not list((farm.root / "results/models/another").rglob("record.json"))
    assert run.wait(timeout=300) == 0
    assert {row["status"] for row in farm.query("FROM cells")} == {"ok"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_while_a_result_is_committed(slow_farm: Farm) -> None:
    cells = slow_farm.root / "results/cells"
    subprocess.run(["rm", "-rf", cells], check=True)
    cells.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(cells)]
    subprocess.run(mount, check=True)
    try:
        completed = slow_farm.run("measured", code=1)
        assert "No space left on device" in completed.stdout
        assert "make room" in completed.stdout
        assert not list(cells.rglob("*.tmp"))
        slow_farm.assert_store_whole()
        journaled, sessions = slow_farm.journaled(), journaled_sessions(slow_farm)
        assert journaled >= 6
        subprocess.run(["mount", "-o", "remount,size=10m", str(cells)], check=True)
        slow_farm.run("measured")
        assert_complete(slow_farm)
        assert reused(slow_farm, sessions) >= journaled
    finally:
        subprocess.run(["umount", "-l", str(cells)], check=True)
