"""A virtual board: an sshd below a process that inflicts faults on it.

That process adopts all that is started through the sshd, so that a restart or an end reaches everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from ..base.errors import PermanentHostError
from ..base.processes import adopt_orphans, die_with_parent, kill_descendants
from . import fault_control
from .network import run_ip

SSHD = "/usr/sbin/sshd"


def make_key(path: Path, comment: str) -> None:
    """Make a key pair: `path` and `path`.pub.

    Raises:
        PermanentHostError: ssh-keygen fails.
    """
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise PermanentHostError(f"{argv[0]}: {error.strerror}", argv) from error
    if done.returncode:
        raise PermanentHostError(
            f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}", argv, done.returncode
        )


class Board:
    """Runs the sshd whose configuration and keys are in a folder.

    Args:
        cable: the only network device that reaches it; empty: it has no own network device.

    Attributes:
        faults: the faults that can be inflicted on it.
    """

    def __init__(self, folder: Path, cable: str = "") -> None:
        self._folder = folder
        self._listener: subprocess.Popen[bytes] | None = None
        self.faults: dict[str, Callable[[], None]] = {
            "cut": self._cut,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "unauthorize": self._unauthorize,
            "authorize": self._authorize,
            "leave": self._leave,
            "return": self.start,
            "reboot": self._reboot,
            "change_key": self._change_key,
        }
        if cable:
            # Unlike after `cut`, neither side is notified: packets are lost and no answer comes.
            self.faults["unplug"] = lambda: run_ip(f"link set {cable} down")
            self.faults["plug"] = lambda: run_ip(f"link set {cable} up")

    def start(self) -> None:
        """Start the sshd unless it runs."""
        if self._listener is None:
            argv = [SSHD, "-D", "-e", "-f", str(self._folder / "sshd_config")]
            self._listener = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
            )

    def is_listener(self, pid: int) -> bool:
        return self._listener is not None and self._listener.pid == pid

    def _sessions(self) -> list[psutil.Process]:
        """The sshd's processes for connections; their end also ends commands, as with any sshd."""
        sessions = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("sshd") and not self.is_listener(process.pid):
                    sessions.append(process)
        return sessions

    def _cut(self) -> None:
        for process in self._sessions():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _freeze(self) -> None:
        """Stop the processes for connections; commands go on."""
        for process in self._sessions():
            with contextlib.suppress(psutil.Error):
                process.suspend()
        if self._listener is not None:
            self._listener.send_signal(signal.SIGSTOP)

    def _thaw(self) -> None:
        # All processes: a stopped one may have become a command since.
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.resume()

    def _unauthorize(self) -> None:
        (self._folder / "authorized_keys").write_text("", encoding="utf-8")
        self._cut()

    def _authorize(self) -> None:
        shutil.copyfile(self._folder / "user_key.pub", self._folder / "authorized_keys")

    def _leave(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.kill()
            listener.wait()
        self._cut()

    def _reboot(self) -> None:
        self._listener = None
        kill_descendants()
        self.start()

    def _change_key(self) -> None:
        self._leave()
        for name in ("host_key", "host_key.pub"):
            (self._folder / name).unlink()
        make_key(self._folder / "host_key", "another")
        self.start()


async def serve(board: Board, folder: Path) -> int:
    """Serve until SIGTERM, or until the sshd ends by itself; returns the exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if board.is_listener(pid):
                    end(1)

    loop.add_signal_handler(signal.SIGCHLD, reap)
    loop.add_signal_handler(signal.SIGTERM, end, 0)
    server = await fault_control.serve_faults(fault_control.listen(folder), board.faults)
    board.start()
    async with server:
        return await ended


def main() -> None:
    """`python -m cellfarm.virtual.board FOLDER [CABLE]`"""
    folder = Path(sys.argv[1])
    adopt_orphans()
    # Connections to the sshd would outlive a board that is killed with the process that started it.
    die_with_parent(signal.SIGTERM)
    try:
        sys.exit(asyncio.run(serve(Board(folder, *sys.argv[2:]), folder)))
    finally:
        kill_descendants()


if __name__ == "__main__":
    main()
