"""The cases of the fault matrix: one fault in one phase of the use of a device.

It works as an experiment does: with the product's transports, called by its Patience.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cellfarm.base.digests import file_digest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.experiments.patience import Patience

from .faults import (
    HANGS,
    LAUNCH,
    MEASURE,
    PERMANENT,
    PULL,
    PUSH,
    RECOVERED,
    STRIKE_BYTES,
    TOO_LATE,
    TRANSIENT,
    UNNOTICED,
    WRONG,
    Device,
    Fault,
    Strike,
    lives,
    wait_until_gone,
)

#: The number of lines of a measuring command before the fault strikes.
STRIKE_LINE = 5
#: A process that still runs on a device this long after its connection broke is an orphan.
ORPHAN_S = 25.0
#: How long to call a device after the fault is undone.
RETURN_S = 60.0
_PULLED = "inputs/pulled"
#: A command whose child leaves its group, as the helpers of some libraries do.
_STREAM = (
    "setsid sleep 600 </dev/null >/dev/null 2>&1 & "
    "i=0; while [ $i -lt $1 ]; do i=$((i+1)); echo $i; sleep 0.1; done"
)


@dataclass(frozen=True)
class Extent:
    """
    Attributes:
        patience_s: how long to call a device that is not expected to return.
        deadline_s: a use that lasts longer than this after the fault hangs.
        pushed_mb, pulled_mb: sizes of the files that go over the connection.
        lines: the number of lines of a measuring command, ten a second.
    """

    patience_s: float
    deadline_s: float
    pushed_mb: int
    pulled_mb: int
    lines: int


@dataclass
class CaseResult:
    """A case that was run.

    Attributes:
        said: the error's message.
        seconds: from the fault to the end of the use.
        attempts_lost: the number of attempts that were lost and repeated.
        orphans: commands that still run on the device.
        works_again: whether the device can be used after the fault is undone.
    """

    kind: str
    fault: str
    phase: str
    expected: str
    outcome: str
    said: str
    seconds: float
    attempts_lost: int
    orphans: list[str] = field(default_factory=list)
    works_again: bool = False


@dataclass(frozen=True)
class Files:
    """What is pushed and pulled.

    Attributes:
        pushed, pulled: files of random bytes.
        digests: the SHA-256 of each.
    """

    pushed: Path
    pulled: Path
    digests: tuple[str, str]

    @classmethod
    def make(cls, folder: Path, extent: Extent) -> Files:
        paths = []
        for name, size_mb in (("pushed", extent.pushed_mb), ("pulled", extent.pulled_mb)):
            paths.append(folder / name)
            with paths[-1].open("wb") as file:
                for _ in range(size_mb):
                    file.write(os.urandom(1 << 20))
        return cls(paths[0], paths[1], (file_digest(paths[0]), file_digest(paths[1])))


class Case:
    """One fault in one phase of the use of a device."""

    def __init__(
        self, device: Device, fault: Fault, phase: str, files: Files, extent: Extent
    ) -> None:
        self._device, self._fault, self._phase = device, fault, phase
        self._files, self._extent = files, extent
        self._transport = device.transport
        is_given_up = fault.outcome(phase) == TRANSIENT
        longest_s = extent.patience_s if is_given_up else RETURN_S
        self._patience = Patience(longest_s, lambda _: None)
        self._strike = Strike(device, fault)
        # Each case has its own file: a file that was put once is not sent again.
        self._pushed = f"inputs/{fault.name.replace(' ', '-')}"
        self._outcome, self._message = HANGS, ""

    def run(self) -> CaseResult:
        if self._phase == LAUNCH:
            self._transport.close()
            wait_until_gone(self._device.processes, time.monotonic() + ORPHAN_S)
        else:
            Patience(RETURN_S, lambda _: None)(self._transport.prepare)
        thread = threading.Thread(target=self._use, daemon=True)
        thread.start()
        seconds = self._wait(thread)
        fault, strike = self._fault, self._strike
        self._device.link.strike()
        ended = CaseResult(
            self._device.kind, fault.name, self._phase, fault.outcome(self._phase), self._outcome,
            self._message, seconds, self._patience.lost,
        )  # fmt: skip
        if strike.at_s is None:
            ended.outcome = TOO_LATE
        elif ended.outcome != UNNOTICED:
            # Checked while the fault lasts: a process without its host must end by itself.
            ended.orphans = wait_until_gone(
                lambda: [process for process in strike.victims if lives(process)],
                strike.at_s + ORPHAN_S,
            )
        if fault.undo and fault.lasts_s is None:
            self._device.suffer(fault.undo)
        thread.join(ORPHAN_S)
        self._finish(ended)
        return ended

    def _wait(self, thread: threading.Thread) -> float:
        """Seconds from the fault to the end of the use."""
        started_s = time.monotonic()
        thread.join(self._extent.deadline_s)
        return time.monotonic() - (self._strike.at_s or started_s)

    def _use(self) -> None:
        try:
            right = _USES[self._phase](self)
            noticed = self._patience.lost > 0
            self._outcome = WRONG if not right else RECOVERED if noticed else UNNOTICED
        except TransientDeviceError as error:
            self._outcome, self._message = TRANSIENT, str(error)
        except PermanentDeviceError as error:
            self._outcome, self._message = PERMANENT, str(error)
        except Exception as error:
            self._outcome, self._message = WRONG, f"{type(error).__name__}: {error}"

    def _finish(self, ended: CaseResult) -> None:
        """Record whether the device can be used again, and what is left on it."""
        if (
            ended.outcome in (TRANSIENT, PERMANENT)
            and (self._device.work_folder / self._pushed).exists()
        ):
            ended.outcome, ended.said = WRONG, "a part of a file has its name"
        until_s = time.monotonic() + RETURN_S
        while not ended.works_again and time.monotonic() < until_s:
            with contextlib.suppress(TransientDeviceError, PermanentDeviceError):
                ended.works_again = self._greets()
        self._transport.remove(self._pushed)
        ended.orphans += wait_until_gone(self._device.strays, time.monotonic() + ORPHAN_S)
        for process in self._device.strays():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _greets(self) -> bool:
        lines: list[str] = []
        launched = self._run(["sh", "-c", "echo here; exit 3"], lines.append)
        return lines == ["here"] and launched == 3

    def _run(self, argv: Sequence[str], on_line: Callable[[str], None]) -> int:
        return self._transport.run(
            argv, stdin=b"", timeout_s=60, variables=self._transport.variables, on_line=on_line
        ).code

    # The phases; each returns whether its result is right.

    def push(self) -> bool:
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                if self._device.arrived_bytes() >= STRIKE_BYTES:
                    self._strike()
                    return
                time.sleep(0.002)

        threading.Thread(target=watch, daemon=True).start()
        try:
            self._patience(lambda: self._transport.put(self._files.pushed, self._pushed))
        finally:
            over.set()
        return file_digest(self._device.work_folder / self._pushed) == self._files.digests[0]

    def launch(self) -> bool:
        self._device.link.strike(at_start=self._strike)
        self._patience(self._transport.prepare)
        return True

    def measure(self) -> bool:
        def attempt() -> list[str]:
            lines: list[str] = []

            def take(line: str) -> None:
                lines.append(line)
                if len(lines) == STRIKE_LINE:
                    self._strike()

            code = self._run(["sh", "-c", _STREAM, "sh", str(self._extent.lines)], take)
            return [*lines, str(code)]

        expected = [*map(str, range(1, self._extent.lines + 1)), "0"]
        return self._patience(attempt) == expected

    def pull(self) -> bool:
        self._device.link.strike(at_bytes=self._strike)
        data = self._patience(lambda: self._transport.read(_PULLED))
        return hashlib.sha256(data or b"").hexdigest() == self._files.digests[1]


_USES: Mapping[str, Callable[[Case], bool]] = {
    PUSH: Case.push,
    LAUNCH: Case.launch,
    MEASURE: Case.measure,
    PULL: Case.pull,
}


def make_ready(device: Device, files: Files) -> None:
    """Put the files on a device that every use expects, and the files to pull."""
    Patience(120.0, lambda _: None)(device.transport.prepare)
    device.transport.put(files.pulled, _PULLED)
