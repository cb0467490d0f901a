"""Transport `local`: no process is left running, whatever a command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from cellfarm.base.errors import PermanentDeviceError
from cellfarm.devices import Launched, local
from cellfarm.devices.local import LOG_TAIL_BYTES, LocalTransport
from cellfarm.devices.transport import SPAWNED

WORKFLOW = Path(local.__file__).parents[2]
FOREVER_S = 600


@pytest.fixture
def transport(tmp_path) -> LocalTransport:
    transport = LocalTransport(tmp_path / "work")
    transport.prepare()
    return transport


def run(
    transport: LocalTransport,
    code: str,
    timeout_s: float = 60,
    stdin: bytes = b"",
    on_line: Callable[[str], None] | None = None,
    **options: Any,
) -> tuple[Launched, list[str]]:
    """Run Python code; returns its end and the lines of its output."""
    lines: list[str] = []
    launched = transport.run(
        [sys.executable, "-S", "-c", code],
        stdin=stdin,
        timeout_s=timeout_s,
        variables={"PATH": os.environ["PATH"]},
        on_line=on_line or lines.append,
        **options,
    )
    return launched, lines


def is_gone(pid: int) -> bool:
    """Whether a process has ended, within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_output_errors_and_code_come_back(transport):
    launched, lines = run(
        transport, "import sys; print('a\\n\\nb'); sys.stderr.write('oh'); sys.exit(3)"
    )
    assert lines == ["a", "", "b"]
    assert (launched.code, launched.timed_out, launched.log) == (3, False, "oh")


def test_a_command_is_told_when_it_was_spawned(transport):
    launched, lines = run(transport, f"import os; print(os.environ[{SPAWNED!r}])")
    assert lines == [str(launched.spawned_ns)]


def test_lines_come_while_the_command_runs(transport):
    """The child waits for an answer to its first line; a reader that waits for its end would hang."""
    answer = transport.work_folder / "answer"
    code = (
        "import time, pathlib\nprint('ready', flush=True)\n"
        f"while not pathlib.Path({str(answer)!r}).exists(): time.sleep(0.01)\nprint('done')"
    )
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        answer.touch()

    launched, _ = run(transport, code, on_line=on_line)
    assert lines == ["ready", "done"] and not launched.timed_out


def test_a_signal_is_a_negative_code(transport):
    launched, _ = run(transport, "import os; os.kill(os.getpid(), 11)")
    assert launched.code == -signal.SIGSEGV and not launched.timed_out


def test_a_deadline_kills_children_too(transport):
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '{FOREVER_S}'])\n"
        f"print(child.pid, flush=True)\ntime.sleep({FOREVER_S})"
    )
    launched, lines = run(transport, code, timeout_s=3)
    assert launched.timed_out and launched.code == -signal.SIGKILL
    assert is_gone(int(lines[0]))


def test_a_child_that_outlives_its_parent_is_killed(transport):
    code = (
        "import subprocess\n"
        f"child = subprocess.Popen(['sleep', '{FOREVER_S}'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid)"
    )
    launched, lines = run(transport, code)
    assert (launched.code, launched.timed_out) == (0, False)
    assert is_gone(int(lines[0]))


def test_an_error_of_the_reader_kills_the_command(transport):
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("the reader broke")

    code = f"import os, time; print(os.getpid(), flush=True); time.sleep({FOREVER_S})"
    with pytest.raises(RuntimeError, match="the reader broke"):
        run(transport, code, on_line=on_line)
    assert is_gone(pids[0])


HOST = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cellfarm.devices.local import LocalTransport
transport = LocalTransport(Path(sys.argv[2]))
transport.prepare()
transport.run(
    [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
    stdin=b"", timeout_s=600, variables={}, on_line=lambda line: print(line, flush=True),
)
"""


def test_a_command_does_not_outlive_a_killed_host_process(tmp_path):
    argv = [sys.executable, "-c", HOST, str(WORKFLOW), str(tmp_path / "work")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout
        child = int(host.stdout.readline())
        assert psutil.pid_exists(child)
        host.kill()
    assert is_gone(child)


def test_output_that_is_no_text_is_replaced(transport):
    code = "import os; os.write(1, b'\\xff\\xfe\\x00ok\\n'); os.write(2, b'\\xf0\\x28')"
    launched, lines = run(transport, code)
    assert lines == ["\ufffd\ufffd\x00ok"] and launched.log == "\ufffd("


def test_a_line_without_an_end_is_no_line(transport):
    _, lines = run(transport, "import sys; sys.stdout.write('whole\\ntorn')")
    assert lines == ["whole"]


def test_megabytes_of_output_do_not_block(transport):
    code = (
        "import sys\nfor n in range(60): sys.stdout.write('x' * 99_999 + '\\n')\n"
        "sys.stderr.write('e' * 5_000_000 + 'last')"
    )
    launched, lines = run(transport, code)
    assert [len(line) for line in lines] == [99_999] * 60
    assert len(launched.log) == LOG_TAIL_BYTES and launched.log.endswith("elast")


def test_a_line_without_end_is_cut_off(transport, monkeypatch):
    monkeypatch.setattr(local, "MAX_LINE_BYTES", 100_000)
    code = "import os\nwhile True: os.write(1, b'x' * 10_000)"
    launched, lines = run(transport, code)
    assert launched.timed_out and lines == []


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_command_need_not_read_its_input(transport, size: int):
    launched, lines = run(transport, "print('fine')", stdin=b"x" * size)
    assert (launched.code, launched.timed_out, lines) == (0, False, ["fine"])


@pytest.mark.parametrize("read_bytes", [0, 5000])
def test_a_command_that_stops_reading_and_never_ends_meets_its_deadline(transport, read_bytes: int):
    code = f"import os, time; os.read(0, {read_bytes}); time.sleep({FOREVER_S})"
    launched, _ = run(transport, code, 1.0, b"x" * 5_000_000)
    assert launched.timed_out


def test_a_large_request_arrives_whole_even_while_the_command_talks(transport):
    code = (
        "import sys\nprint('y' * 3_000_000, flush=True)\n"
        "print(len(sys.stdin.buffer.read()))"
    )  # fmt: skip
    _, lines = run(transport, code, stdin=b"x" * 5_000_000)
    assert lines[1] == "5000000"


def test_a_command_sees_the_given_variables_and_descriptors_only(transport, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with (transport.work_folder / "lock").open("w") as kept, Path(os.devnull).open() as not_kept:
        os.set_inheritable(not_kept.fileno(), True)
        code = (
            "import os\nprint(os.environ.get('OMP_NUM_THREADS'))\n"
            f"print(os.fstat({kept.fileno()}).st_ino)\n"
            f"try: print(os.fstat({not_kept.fileno()}) and 'open')\nexcept OSError: print('closed')"
        )
        _, lines = run(transport, code, keep_open=[kept.fileno()])
        assert lines == ["None", str(os.fstat(kept.fileno()).st_ino), "closed"]


@pytest.mark.parametrize("program", ["/nonexistent/python", "/etc/passwd"])
def test_a_program_that_cannot_be_started_is_named(transport, program: str):
    with pytest.raises(PermanentDeviceError, match=f"{program} cannot be started"):
        transport.run([program], stdin=b"", timeout_s=9, variables={}, on_line=print)
