"""A device behind a link: its agent does what transport `local` does on this machine."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.base.project import Project
from cellfarm.devices import remote_facts
from cellfarm.devices.link import Answer
from cellfarm.devices.remote import RemoteTransport
from cellfarm.devices.transport import Interpreter

from tests.support.pipe_link import PipeLink

PYTHON = Interpreter((sys.executable, "-S"), {})


@pytest.fixture
def link() -> PipeLink:
    return PipeLink()


@pytest.fixture
def transport(tmp_path, link):
    transport = RemoteTransport(link, str(tmp_path / "device"), Project(tmp_path))
    transport._base = PYTHON
    transport.prepare()
    yield transport
    transport.close()


def run(transport, code: str, timeout_s: float = 60, stdin: bytes = b""):
    lines: list[str] = []
    result = transport.run(
        [sys.executable, "-S", "-c", code],
        stdin=stdin, timeout_s=timeout_s, variables=transport.variables, on_line=lines.append,
    )  # fmt: skip
    return result, lines


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_command_runs_there_with_its_input_and_output(transport):
    code = "import sys; print(sys.stdin.read()); print('b'); sys.stderr.write('oh'); sys.exit(3)"
    result, lines = run(transport, code, stdin="ä".encode())
    assert lines == ["ä", "b"]
    assert (result.code, result.timed_out, result.log) == (3, False, "oh")


def test_files_are_put_once_and_checked(transport, link, tmp_path):
    folder = tmp_path / "source"
    (folder / "below").mkdir(parents=True)
    (folder / "below/a").write_bytes(b"x" * 100_000)
    file = tmp_path / "file"
    file.write_bytes(b"y")
    assert transport.put(folder, "artifacts/one") and transport.put(file, "payloads/two.pyz")
    pushed_files = len(link.pushed)
    assert not transport.put(folder, "artifacts/one")
    second = RemoteTransport(link, transport.work_folder, Project(tmp_path))
    second._base = PYTHON
    transport.close()
    second.prepare()
    assert not second.put(folder, "artifacts/one") and not second.put(file, "payloads/two.pyz")
    assert len(link.pushed) == pushed_files
    # A file that changed on the device is put again.
    Path(second.resolve("artifacts/one/below/a")).write_bytes(b"other")
    third = RemoteTransport(link, transport.work_folder, Project(tmp_path))
    third._base = PYTHON
    second.close()
    assert third.put(folder, "artifacts/one")
    assert Path(third.resolve("artifacts/one/below/a")).read_bytes() == b"x" * 100_000
    third.close()


def test_what_arrives_damaged_never_gets_its_name(transport, link, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"content")

    def push_damaged(source: Path, destination: str) -> None:
        Path(destination).write_bytes(b"contend")

    monkeypatch.setattr(link, "push", push_damaged)
    with pytest.raises(TransientDeviceError, match="arrived damaged"):
        transport.put(file, "payloads/x")
    assert not Path(transport.resolve("payloads/x")).exists()


def test_a_lost_connection_leaves_nothing_running_there(transport, link):
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True)\n"
        "print(os.getpid(), child.pid, flush=True)\ntime.sleep(600)"
    )
    lines: list[str] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            transport.run(
                [sys.executable, "-S", "-c", code],
                stdin=b"", timeout_s=60, variables={}, on_line=lines.append,
            )  # fmt: skip
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not lines:
        time.sleep(0.02)
    Path(transport.resolve("launches/left")).write_text("x")
    link.pull()
    thread.join(20)
    assert [type(error) for error in errors] == [TransientDeviceError], errors
    for pid in map(int, lines[0].split()):
        assert is_gone(pid), pid
    # The next call finds a device that works.
    _, output = run(transport, "print('fine')")
    assert output == ["fine"]
    assert not Path(transport.resolve("launches/left")).exists()


def test_children_that_left_the_group_end_with_the_command(transport):
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL)\nprint(child.pid)"
    )
    _, lines = run(transport, code)
    assert is_gone(int(lines[0]))


def test_two_hosts_do_not_measure_on_one_device(transport, link, tmp_path):
    other = RemoteTransport(link, transport.work_folder, Project(tmp_path))
    other._base = PYTHON
    with pytest.raises(TransientDeviceError, match="another cellfarm"):
        other.prepare()


def test_a_device_that_is_gone_is_transient_and_a_folder_that_cannot_be_is_not(
    transport, link, tmp_path
):
    link.is_up = False
    link.pull()
    # The first error names the loss, the next one why it lasts.
    for reason in ("cut", "cannot be reached"):
        with pytest.raises(TransientDeviceError, match=reason):
            transport.put(tmp_path / "x", "payloads/x")
    link.is_up = True
    (tmp_path / "file").write_text("")
    other = RemoteTransport(link, str(tmp_path / "file/work"), Project(tmp_path))
    other._base = PYTHON
    with pytest.raises(PermanentDeviceError, match="cannot be made"):
        other.prepare()


def make_device(link, folder: Path, limit_mb: int = 1000) -> RemoteTransport:
    transport = RemoteTransport(link, str(folder), Project(folder.parent), limit_mb)
    transport._base = PYTHON
    return transport


def files_of(tmp_path: Path, *names: str) -> list[Path]:
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(os.urandom(400_000))
    return paths


def test_what_was_unused_longest_makes_room(link, tmp_path):
    """A work folder of 1 MB holds two files of 0.4 MB; what this experiment put is kept."""
    file_1, file_2, file_3, file_4 = files_of(tmp_path, "1", "2", "3", "4")
    first_transport = make_device(link, tmp_path / "device", limit_mb=1)
    assert first_transport.put(file_1, "artifacts/1") and first_transport.put(file_2, "inputs/2")
    first_transport.close()
    second_transport = make_device(link, tmp_path / "device", limit_mb=1)
    assert not second_transport.put(file_1, "artifacts/1")  # used again: younger than inputs/2 now
    assert second_transport.put(file_3, "artifacts/3")
    names = {path.name for path in (tmp_path / "device").glob("*/[0-9]")}
    assert names == {"1", "3"}
    with pytest.raises(PermanentDeviceError, match="more than its limit of 1 MB"):
        second_transport.put(file_4, "artifacts/4")
    second_transport.close()


def test_a_full_device_is_told_before_anything_is_sent(transport, link, tmp_path, monkeypatch):
    (file,) = files_of(tmp_path, "1")
    pushed_files = len(link.pushed)
    monkeypatch.setattr(transport, "_limit_bytes", 1 << 62)
    huge = 1 << 60
    with pytest.raises(PermanentDeviceError, match="storage is full"):
        transport._call("make_room", needed_bytes=huge, limit_bytes=1 << 62, keep=[])
    assert len(link.pushed) == pushed_files
    assert transport.put(file, "artifacts/1")


def test_what_broken_pushes_left_is_removed(transport, link, tmp_path):
    leftover = Path(transport.resolve("arrivals/half"))
    leftover.write_bytes(b"x")
    transport.close()
    transport.prepare()
    assert not leftover.exists()


def test_a_file_is_read_and_a_missing_one_is_none(transport, tmp_path):
    Path(transport.resolve("launches/x")).write_bytes(bytes(range(256)) * 1000)
    assert transport.read("launches/x") == bytes(range(256)) * 1000
    assert transport.read("launches/y") is None
    transport.remove("launches/x")
    assert transport.read("launches/x") is None
    with pytest.raises(PermanentDeviceError, match="not a name"):
        transport.read("../secret")


def test_the_facts_of_a_device_are_read_as_those_of_this_machine(transport, link, tmp_path):
    from cellfarm.devices.facts import fingerprint, read_local

    host_facts, device_facts = read_local(), transport.facts()
    assert fingerprint(host_facts) == fingerprint(device_facts)
    assert device_facts["free_mb"] > 0 and device_facts["python"] and not device_facts["android"]


def test_android_s_properties_are_facts(link, monkeypatch):
    text = "\n@@cellfarm@@ uname\naarch64\n5.10.1\n@@cellfarm@@ properties\n"
    text += "[ro.product.manufacturer]: [Google]\n[ro.product.model]: [Pixel 7]\n"
    text += "[ro.build.version.sdk]: [34]\n[ro.product.cpu.abilist64]: [arm64-v8a]\n"
    text += "[ro.build.fingerprint]: [google/panther:14]\n[ro.board.platform]: [gs201]\n"

    def answer(script_end: str):
        return lambda *_, **__: Answer(0, (text + script_end).encode(), "")

    monkeypatch.setattr(remote_facts, "ask", answer("\n@@cellfarm@@ end\n"))
    facts = remote_facts.read(link, "/data/local/tmp/x", "/bin")
    assert facts["model"] == "Google Pixel 7" and facts["soc"] == "gs201"
    assert facts["os"] == "google/panther:14" and facts["architecture"] == "aarch64"
    assert facts["memory_gb"] is None and facts["python"] is None and facts["android"]
    monkeypatch.setattr(remote_facts, "ask", answer(""))
    with pytest.raises(TransientDeviceError, match="broke off"):
        remote_facts.read(link, "/data/local/tmp/x", "/bin")
    text = text.replace("[arm64-v8a]", "[]")
    monkeypatch.setattr(remote_facts, "ask", answer("\n@@cellfarm@@ end\n"))
    with pytest.raises(PermanentDeviceError, match="32-bit"):
        remote_facts.read(link, "/data/local/tmp/x", "/bin")


def test_a_phone_that_hides_sys_tells_its_battery_and_temperatures_otherwise(link, monkeypatch):
    """As Android 14 prints them (AOSP, BatteryService and ThermalManagerService)."""
    text = """
@@cellfarm@@ uname
aarch64
5.10.1
@@cellfarm@@ battery
Current Battery Service state:
  AC powered: false
  status: 3
  level: 41
  scale: 50
  voltage: 4012
  temperature: 312
@@cellfarm@@ thermal
IsStatusOverride: false
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}
Current temperatures from HAL:
\tTemperature{mValue=38.25, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=-274.0, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=31.2, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=3, mType=2, mName=cpu}
@@cellfarm@@ end
"""
    monkeypatch.setattr(remote_facts, "ask", lambda *_, **__: Answer(0, text.encode(), ""))
    facts = remote_facts.read(link, "/data/local/tmp/x", "/bin")
    assert facts["battery_percent"] == 82
    assert facts["thermal_zones"] == {"CPU0": 38.25, "battery": 31.2}


def test_python_is_looked_for_where_the_agent_will(link, tmp_path, monkeypatch):
    """A login shell's PATH may name another Python, as pyenv does."""
    folders = []
    for name, version in (("login", "3.99"), ("system", "3.9")):
        python = tmp_path / name / "python3"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\necho {version}\n")
        python.chmod(0o755)
        folders.append(str(python.parent))
    monkeypatch.setenv("PATH", f"{folders[0]}:{os.environ['PATH']}")
    facts = remote_facts.read(link, str(tmp_path), f"{folders[1]}:/usr/bin:/bin")
    assert facts["python"] == "3.9"
