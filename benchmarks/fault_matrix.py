"""All faults of a device's connection, in every phase of its use.

A virtual phone behind a real adb server and a virtual board behind a real sshd. In each phase - a push of
128 MB, the launch of an agent, a command that measures, a pull of 48 MB - each fault strikes once, and the
use goes on as in an experiment, which calls a lost device again. FAULTS says what every case has to come
to; the benchmark shows whether it does, how soon, and what is left on the device. Time limits are the
product's own, but that a device which stays away is given up after 30 s, as its file may say.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

from cellfarm.base.errors import PermanentError, TransientError
from cellfarm.virtual.board import SSHD
from cellfarm.virtual.network import network_for_board

from .fault_cases import ORPHAN_S, Case, CaseResult, Extent, Files, make_ready
from .faults import (
    BOARD,
    HANGS,
    KILL_SERVER,
    PERMANENT,
    PHASES,
    PHONE,
    RECOVERED,
    TRANSIENT,
    TRUST,
    UNNOTICED,
    Fault,
    virtual_device,
    wait_until_gone,
)
from .figures import Figure, NotMeasurable, Options, keep_raw

BOTH = (PHONE, BOARD)
EXTENT = Extent(patience_s=30.0, deadline_s=120.0, pushed_mb=128, pulled_mb=48, lines=60)

_RECOVERED = (RECOVERED,) * 4
_UNNOTICED = (UNNOTICED,) * 4
_TRANSIENT = (TRANSIENT,) * 4
_PERMANENT = (PERMANENT,) * 4
_UNPLUG = "unplug"
_LOST = "connection is lost|cannot be reached|not connected|is (offline|connecting)"

#: What each fault comes to in the phases push, launch, measure, pull. A launch that was lost counts for
#: nothing and is done again; a device that is given up is left out, and what was finished is kept.
FAULTS = (
    Fault("connection cut", BOTH, "cut", _RECOVERED),
    Fault("restarted", BOTH, "reboot", _RECOVERED),
    Fault("adb server killed", (PHONE,), KILL_SERVER, _RECOVERED),
    Fault("frozen for a while", BOTH, "freeze", _UNNOTICED, undo="thaw", lasts_s=5.0),
    Fault("away for a while", BOTH, "leave", _RECOVERED, undo="return", lasts_s=5.0),
    Fault(
        "frozen", BOTH, "freeze", _TRANSIENT, undo="thaw",
        words=f"{_LOST}|said nothing for|did not (answer|arrive|finish)",
    ),
    Fault("away", BOTH, "leave", _TRANSIENT, undo="return", words=_LOST),
    Fault("unplugged a while", (BOARD,), _UNPLUG, _UNNOTICED, undo="plug", lasts_s=5.0),
    Fault(
        "unplugged", (BOARD,), _UNPLUG, _TRANSIENT, undo="plug",
        words=f"{_LOST}|said nothing for|did not (answer|arrive|finish)",
    ),
    Fault("offline", (PHONE,), "offline", _TRANSIENT, undo="online", words=_LOST),
    Fault(
        "unauthorized", (PHONE,), "unauthorize", _PERMANENT, undo="authorize",
        words="unauthorized: unlock it and allow debugging",
    ),
    Fault(
        "key refused", (BOARD,), "unauthorize", _PERMANENT, undo="authorize",
        words="refuses the key: give key_file",
    ),
    Fault(
        "another host key", (BOARD,), "change_key", _PERMANENT, undo=TRUST,
        words=r"not the one in known_hosts.*ssh-keygen -R.*docs/adding-a-device\.md",
    ),
)  # fmt: skip


def measure(options: Options) -> list[Figure]:
    kinds = BOTH if Path(SSHD).is_file() else (PHONE,)
    faults = possible(FAULTS[:2] if options.quick else FAULTS)
    if not options.quick and len(faults) < len(FAULTS):
        print(
            "  not tried: a board's cable, as this user may make no network namespace", flush=True
        )
    try:
        ended = run_matrix(faults, kinds, EXTENT)
    except (TransientError, PermanentError) as error:
        raise NotMeasurable(f"no virtual devices here: {error}") from error
    print("\n".join(table(ended)), flush=True)
    keep_raw("fault_matrix", options, [asdict(case) for case in ended])
    wrong = [case for case in ended if not is_as_recorded(case)]
    orphans = [command for case in ended for command in case.orphans]
    slowest = max(ended, key=lambda case: case.seconds)
    return [
        Figure(
            f"cases that end in the recorded outcome, of {len(ended)}",
            len(ended) - len(wrong), "cases", least=len(ended),
            details={
                "others": ", ".join(f"{case.fault} in {case.phase} ({case.kind})" for case in wrong)
                or "none",
                "slowest": f"{slowest.fault} in {slowest.phase} ({slowest.kind})",
                "slowest, s": slowest.seconds,
            },
        ),
        Figure(
            "processes left on a device after 25 s", len(orphans), "processes", target=0,
            details={"commands": "; ".join(orphans)} if orphans else {},
        ),
        Figure(
            f"hangs past the deadline of {EXTENT.deadline_s:.0f} s",
            sum(case.outcome == HANGS for case in ended), "cases", target=0,
        ),
        Figure(
            f"devices that can be used again afterwards, of {len(ended)}",
            sum(case.works_again for case in ended), "cases", least=len(ended),
        ),
    ]  # fmt: skip


def possible(faults: Sequence[Fault]) -> list[Fault]:
    """The faults that can be tried here: a cable needs a board with its own address."""
    with network_for_board(lambda _: None) as network:
        return [fault for fault in faults if fault.inflict != _UNPLUG or network.cable]


def run_matrix(faults: Sequence[Fault], kinds: Sequence[str], extent: Extent) -> list[CaseResult]:
    """Run every fault in every phase, each phase on its own devices, all at once.

    Most of the time the cases wait for time limits.
    """
    with tempfile.TemporaryDirectory(prefix="cellfarm-faults-") as folder:
        variables = {
            "ADB_MDNS": "0",
            "HOME": folder,
        }  # adb servers keep their keys and sockets there
        with patch.dict(os.environ, variables):
            root = Path(folder)
            files = Files.make(root, extent)
            queues = [(kind, phase) for phase in PHASES for kind in kinds]
            templates = {kind: _seed(kind, root, files) for kind in kinds}
            with ThreadPoolExecutor(len(queues)) as pool:
                futures = []
                for number, (kind, phase) in enumerate(queues):
                    rotated = _rotated([fault for fault in faults if kind in fault.kinds], number)
                    queue = _Queue(kind, phase, rotated, files, extent, templates[kind])
                    futures.append(pool.submit(queue.run, root))
                return [ended for future in futures for ended in future.result()]


def _seed(kind: str, root: Path, files: Files) -> Path:
    """Make the work folder of a device with the files that every use expects."""
    with virtual_device(kind, f"{kind}-seed", root) as device:
        make_ready(device, files)
        device.transport.close()
        return device.work_folder


def _rotated(faults: Sequence[Fault], number: int) -> list[Fault]:
    """Rotate the faults by device, so that the devices do not all work and wait at the same time."""
    start = number * 2 % len(faults)
    return [*faults[start:], *faults[:start]]


@dataclass(frozen=True)
class _Queue:
    """The cases of one phase, on their own device, which begins as a copy of `template`."""

    kind: str
    phase: str
    faults: Sequence[Fault]
    files: Files
    extent: Extent
    template: Path

    def run(self, root: Path) -> list[CaseResult]:
        with virtual_device(self.kind, f"{self.kind}-{self.phase}", root, self.template) as device:
            make_ready(device, self.files)
            ended = [
                Case(device, fault, self.phase, self.files, self.extent).run()
                for fault in self.faults
            ]
            device.transport.close()
            ended[-1].orphans += wait_until_gone(device.processes, time.monotonic() + ORPHAN_S)
        return ended


def is_as_recorded(ended: CaseResult) -> bool:
    """Whether a case ended as FAULTS says, with a helpful message."""
    pattern = next(fault.words for fault in FAULTS if fault.name == ended.fault)
    is_reported = not pattern or re.search(pattern, ended.said) is not None
    return ended.outcome == ended.expected and is_reported


def table(ended: Sequence[CaseResult]) -> list[str]:
    """One line for each case; unexpected outcomes are marked."""
    lines = [
        f"  {'device':7} {'fault':18} {'phase':8} {'outcome':10} {'s':>6} {'lost':>4}"
        f" {'left':>4}  again"
    ]
    order = [fault.name for fault in FAULTS]
    for case in sorted(ended, key=lambda case: (case.kind, order.index(case.fault))):
        good = is_as_recorded(case) and not case.orphans and case.works_again
        note = "" if good else f"   <- expected {case.expected}; {case.said[:160]}"
        lines.append(
            f"  {case.kind:7} {case.fault:18} {case.phase:8} {case.outcome:10} {case.seconds:6.1f}"
            f" {case.attempts_lost:4d} {len(case.orphans):4d}  {'yes' if case.works_again else 'NO'}{note}"
        )
    return lines
