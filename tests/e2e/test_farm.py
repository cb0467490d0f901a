"""Runs of a farm with a phone behind a real adb server and a board behind a real sshd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from cellfarm.base.project import Project
from cellfarm.envs.native_building import missing_compiler
from cellfarm.virtual.starting import inflict, virtual_board, virtual_phone

from benchmarks.own_adb import own_adb_server
from tests.support.farm import PROTOCOL, Farm, kill_group
from tests.support.protocols import with_measures

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not shutil.which("sshd", path="/usr/sbin"), reason="no sshd is installed"),
]

#: Launches that take long enough to be lost. An emulated cell has one, and another
#: for the held-out inputs.
SLOW = with_measures(PROTOCOL, latency={"samples": {"min": 3, "max": 1000, "seconds": 2.0}})


#: ncnn is compiled once for each checkout: 400 s of two processors, beside other tests.
COMPILED_S = 2400


@pytest.fixture
def devices(farm: Farm) -> Iterator[ExitStack]:
    """Starts virtual devices for `farm` that end with the test; phones have their own adb server."""
    with pytest.MonkeyPatch.context() as patch, own_adb_server(), ExitStack() as stack:
        patch.setenv("CELLFARM_ENVIRONMENTS", farm.variables()["CELLFARM_ENVIRONMENTS"])
        yield stack


def start(farm: Farm, devices: ExitStack, kind: str, name: str, **settings: Any) -> None:
    begin = {"phone": virtual_phone, "board": virtual_board}[kind]
    document = devices.enter_context(begin(Project(farm.root), name)).document
    farm.write(f"devices/{name}.yaml", document | settings)


def rows_of(farm: Farm, device: str) -> list[dict[str, object]]:
    return farm.query(f"FROM cells WHERE device = '{device}' ORDER BY model, library")


def journaled(farm: Farm, device: str) -> int:
    files = (farm.root / "results/journal" / device).rglob("*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in files)


def on_the_device(farm: Farm, name: str) -> list[Path]:
    """Files that launches left in a board's work folder."""
    return list((farm.root / f"results/virtual/{name}/work/launches").glob("*"))


def test_a_phone_and_a_board_measure_what_the_host_does(farm: Farm, devices: ExitStack) -> None:
    start(farm, devices, "phone", "phone")
    start(farm, devices, "board", "board")
    farm.configure(devices=["host", "label:virtual"], models=["small_squeezenet"])
    first = farm.run("measured").stdout
    for device in ("phone", "board"):
        rows = rows_of(farm, device)
        assert {row["library"] for row in rows} == {"ncnn", "onnxruntime"}
        for row in rows:
            assert (row["status"], row["emulated"]) == ("ok", True), row["reason"]
            assert row["latency_ms"] is None  # an emulator's time is nobody's latency
            assert row["cosine"] > 0.99
        assert f"experiment small_squeezenet on {device}: 2 cells" in first
    assert {row["status"] for row in rows_of(farm, "host")} == {"ok"}
    assert "nothing to measure: all 6 cells" in farm.run("measured").stdout
    output = farm.cellfarm("devices")
    assert "Virtual Phone" in output and output.count("emulated") == 2
    assert farm.cellfarm("farm", "--once").count("idle") >= 3
    # The device's address is no cause of a cell; what it runs is.
    farm.edit("devices/board.yaml", lambda text: text.replace("- virtual", "- virtual\n- bench"))
    assert "nothing to measure" in farm.run("measured").stdout


@pytest.mark.skipif(missing_compiler() is not None, reason=f"{missing_compiler()} is not installed")
@pytest.mark.timeout(COMPILED_S + 300)
@pytest.mark.parametrize("python", [True, False], ids=["with Python", "without Python"])
def test_a_phone_measures_ncnn_in_its_native_runner(
    farm: Farm, devices: ExitStack, python: bool
) -> None:
    start(farm, devices, "phone", "phone", native=["ncnn"], python=python)
    farm.configure(devices=["phone"], models=["small_squeezenet"])
    farm.run("measured", timeout_s=COMPILED_S)
    native, onnxruntime = rows_of(farm, "phone")
    assert (native["library"], native["status"]) == ("ncnn", "ok"), native["reason"]
    assert native["cosine"] > 0.999 and native["heldout_cosine"] > 0.999
    assert onnxruntime["status"] == ("ok" if python else "unsupported"), onnxruntime["reason"]
    runners = {}
    for path in (farm.root / "results/cells/phone").rglob("latency-*.json"):
        document = json.loads(path.read_text())
        launches = document["launches"]
        runners[document["cell"]["library"]] = {
            launch["actual"].get("runner") for launch in launches
        }
    assert runners == {"ncnn": {"native"}, "onnxruntime": {None} if python else set()}
    work_folder = farm.root / "results/virtual/phone/root/data/local/tmp/cellfarm"
    runtimes = [path.name.rpartition("-")[0] for path in (work_folder / "runtimes").iterdir()]
    assert "ncnn@1.0.20261020.native" in runtimes and (len(runtimes) > 1) == python
    assert (work_folder / "agents").exists() == python


def test_a_connection_that_breaks_while_measuring_costs_no_result(
    farm: Farm, devices: ExitStack
) -> None:
    start(farm, devices, "board", "board")
    farm.write("config/protocols/slow.yaml", SLOW)
    farm.configure(devices=["board"], models=["small_squeezenet"], protocol="slow")
    run = farm.start("measured")
    for launches in (0, 1, 2):
        farm.wait_for(lambda least=launches: journaled(farm, "board") >= least)
        time.sleep(0.3)  # in the middle of the next operation
        inflict(Project(farm.root), "board", "cut")
    assert run.wait(timeout=300) == 0, (farm.root / "started.log").read_text()[-4000:]
    rows = rows_of(farm, "board")
    assert [(row["status"], row["launches"]) for row in rows] == [("ok", 1), ("ok", 1)]
    files = (farm.root / "results/cells").rglob("*.json")
    documents = [json.loads(path.read_text()) for path in files if "board" in str(path)]
    assert (
        sum(launch.get("lost", 0) for document in documents for launch in document["launches"]) >= 1
    )
    assert not on_the_device(farm, "board")


def test_a_device_that_is_lost_holds_nobody_up(farm: Farm, devices: ExitStack) -> None:
    start(farm, devices, "board", "lost", limits={"patience_s": 5})
    start(farm, devices, "board", "other")
    farm.write("config/protocols/slow.yaml", SLOW)
    models = ["small_squeezenet", "small_mobilenet"]
    farm.configure(devices=["lost", "other"], models=models, protocol="slow")
    run = farm.start()
    farm.wait_for(lambda: any((farm.root / "results/cells/lost").rglob("*.json")))
    inflict(Project(farm.root), "lost", "leave")
    log = farm.root / "started.log"
    assert run.wait(timeout=300) == 75, log.read_text()[-4000:]
    output = log.read_text()
    assert "not every device finished (lost: the device cannot be reached" in output
    assert "Traceback" not in output and "127.0.0.1" not in output
    # The other device's results, the ranking, the report and the lost device's finished cells exist.
    assert {row["status"] for row in rows_of(farm, "other")} == {"ok"}
    assert (farm.root / "reports/index.html").is_file() and len(rows_of(farm, "other")) == 4
    measured = len(rows_of(farm, "lost"))
    assert 1 <= measured < 4
    assert "needs attention" in farm.cellfarm("farm", "--once")
    # A run leaves out the absent device; after its return, a run measures the rest.
    run_without = farm.run("measured", code=75).stdout
    assert "lost is left out: the device cannot be reached" in run_without
    assert "not every device finished (lost: the device cannot be reached" in run_without
    farm.configure(devices=["lost"], models=models, protocol="slow")
    for arguments in (["measured"], ["-n", "--quiet"]):
        refused = farm.run(*arguments, code=2).stdout
        assert "no device can be used (lost: the device cannot be reached" in refused
        assert "Traceback" not in refused and "127.0.0.1" not in refused
    farm.configure(devices=["lost", "other"], models=models, protocol="slow")
    inflict(Project(farm.root), "lost", "return")
    before = farm.result_files()
    farm.run("measured")
    assert [row["status"] for row in rows_of(farm, "lost")] == ["ok"] * 4
    new = set(farm.result_files()) - set(before)
    assert len({Path(path).parent for path in new if "lost" in path}) == 4 - measured
    assert "needs attention" not in farm.cellfarm("farm", "--once")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_a_run_that_ends_leaves_nothing_on_the_device(
    farm: Farm, devices: ExitStack, number: int
) -> None:
    start(farm, devices, "board", "board")
    farm.write("config/protocols/slow.yaml", SLOW)
    farm.configure(devices=["board"], models=["small_squeezenet"], protocol="slow")
    run = farm.start("measured")
    farm.wait_for(lambda: journaled(farm, "board") >= 1)
    kill_group(run, number)
    assert run.wait(timeout=120) != 0
    deadline = time.monotonic() + 40
    while processes := running_on(farm, "board"):
        assert time.monotonic() < deadline, processes
        time.sleep(0.2)
    assert not on_the_device(farm, "board")
    farm.run("measured")
    assert [row["launches"] for row in rows_of(farm, "board")] == [1, 1]


def running_on(farm: Farm, name: str) -> list[list[str]]:
    """Commands that name a board's work folder."""
    folder = str(farm.root / f"results/virtual/{name}/work")
    commands = []
    for process in farm.processes():
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if process.pid != os.getpid():
                commands.append(process.cmdline())
    return [command for command in commands if any(folder in part for part in command)]


def test_two_farms_want_the_same_board(farm: Farm, devices: ExitStack, tmp_path: Path) -> None:
    farm.write("config/protocols/slow.yaml", SLOW)
    other_farm = farm.copy(tmp_path / "other")
    start(farm, devices, "board", "board")
    farm.configure(devices=["board"], models=["small_squeezenet"], protocol="slow")
    # Its other name makes the lock on the device the only protection.
    document = (farm.root / "devices/board.yaml").read_text().replace("name: board", "name: same")
    (other_farm.root / "devices/same.yaml").write_text(document)
    other_farm.configure(devices=["same"], models=["small_squeezenet"], protocol="slow")
    runs = [farm.start("measured"), other_farm.start("measured")]
    roots = (farm.root, other_farm.root)
    logs = [root / "started.log" for root in roots]
    ends = [run.wait(timeout=400) for run in runs]
    assert ends == [0, 0], "".join(log.read_text()[-3000:] for log in logs)
    assert [row["launches"] for row in rows_of(farm, "board")] == [1, 1]
    assert [row["launches"] for row in rows_of(other_farm, "same")] == [1, 1]
    spans = []
    for root in roots:
        for path in (root / "results/cells").rglob("latency-*.json"):
            document = json.loads(path.read_text())
            if document["cell"]["device"] in ("board", "same"):
                times = [launch["started_at"] for launch in document["launches"]]
                spans.append((min(times), max(times), root))
    spans.sort()
    order = [root for *_, root in spans]
    assert order in (
        [farm.root] * 2 + [other_farm.root] * 2,
        [other_farm.root] * 2 + [farm.root] * 2,
    )
    assert "another cellfarm measures on this device" in "".join(log.read_text() for log in logs)
