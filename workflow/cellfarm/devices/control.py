"""What cellfarm sets on a device, and how it is restored even after a crash."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.files import read_object, write_atomically

#: A governor's name that means: leave it as it is.
KEEP = "keep"
_CPUFREQ = "sys/devices/system/cpu/cpufreq"


def choose_cores(
    clusters: Sequence[Mapping[str, Any]] | None,
    threads: int,
    allowed: Iterable[int] | None,
    siblings: Iterable[Iterable[int]] = (),
) -> list[int] | None:
    """Choose as many cores as threads: fastest clusters first, in a cluster highest numbers first.

    Core 0 comes last in its cluster, as it serves most interrupts. A second virtual processor of a
    core is chosen only when every core has given one.

    Args:
        clusters: {"cores": "0-3 7", "max_khz": number or None}; None: all cores are equal.
        threads: at least 1.
        allowed: the cores that may be used; None: those of the clusters.
        siblings: groups of processors that share a core, see `read_siblings`.

    Returns:
        The cores in ascending order; None if there are fewer than threads, or if they are unknown.
    """
    speeds: dict[int, float] = {}
    for cluster in clusters or ():
        for core in parse_cores(cluster.get("cores")):
            speeds[core] = float(cluster.get("max_khz") or 0.0)
    usable = set(speeds) if allowed is None else set(allowed)
    if not 1 <= threads <= len(usable):
        return None
    # A core of no known cluster is taken last.
    order = sorted(usable, key=lambda core: (-speeds.get(core, -1.0), -core))
    first: list[int] = []
    second: list[int] = []
    groups = [set(group) for group in siblings]
    for core in order:
        shares = any(core in group and group & set(first) for group in groups)
        (second if shares else first).append(core)
    return sorted((first + second)[:threads])


def parse_cores(text: Any) -> list[int]:
    """Cores from the kernel's lists: "0-3 7", "0 1 2 3", "4,6-7"; none from anything else."""
    cores: list[int] = []
    for part in re.split(r"[,\s]+", text.strip() if isinstance(text, str) else ""):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if match:
            cores += range(int(match[1]), int(match[2] or match[1]) + 1)
    return cores


def read_siblings(root: Path = Path("/")) -> list[list[int]]:
    """The groups of virtual processors that share a core; none where no core is shared."""
    groups = set()
    for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list"):
        group = parse_cores(read_text(file))
        if len(group) > 1:
            groups.add(tuple(group))
    return [list(group) for group in sorted(groups)]


class GovernorControl:
    """Sets the frequency governor, and keeps the previous one on the disk.

    Args:
        root: the folder that holds /sys.
        restore_file: what has to be restored; there only while something is set. It is written
            before anything is changed, so `restore` finds it whenever the process dies.
    """

    def __init__(self, root: Path, restore_file: Path) -> None:
        self.root = root
        self.restore_file = restore_file

    def set(self, governor: str) -> dict[str, Any]:
        """Set the governor of every frequency domain that allows it.

        Returns:
            governor: that of all domains now, or None if they differ;
            reason: why it could not be set everywhere, or None;
            set: {domain: governor before} of those that were changed;
            refused: {domain: reason} of those that were not.

        Raises:
            OSError: the restore file cannot be written; nothing was changed.
        """
        self.restore()
        files = self._files()
        before = {name: read_text(file) for name, file in files.items()}
        refused: dict[str, str] = {}
        changed: dict[str, str] = {}
        changes = {}
        for name, file in files.items():
            offered = (read_text(file.with_name("scaling_available_governors")) or governor).split()
            if before[name] is None:
                refused[name] = "the governor cannot be read"
            elif governor not in offered:
                refused[name] = f"{governor} is not offered ({', '.join(offered)})"
            elif before[name] != governor:
                changes[name] = {"before": before[name], "set": governor}
        if changes:
            write_atomically(self.restore_file, json.dumps(changes, indent=1) + "\n")
        for name, change in changes.items():
            problem = _write(files[name], governor)
            if problem:
                refused[name] = problem
            else:
                changed[name] = str(change["before"])
        if changes and not changed:
            self._forget()
        current = {read_text(file) for file in files.values()}
        if files:
            reason = "; ".join(sorted(set(refused.values()))) or None
        else:
            reason = "the system has no frequency control"
        return {
            "governor": governor if current == {governor} else None,
            "reason": reason,
            "set": changed,
            "refused": refused,
        }

    def restore(self) -> dict[str, str]:
        """Restore the previous governors, also those of a run that was killed; delete the restore file.

        A governor that somebody else has changed since is left as it is.

        Returns:
            {domain: reason} of what could not be restored; the restore file keeps these.
        """
        entries = read_object(self.restore_file)
        if entries is None:
            if not self.restore_file.exists():
                return {}
            # Never written in part, so somebody else changed it. It is kept under another name, so
            # that it does not stop later runs.
            with contextlib.suppress(OSError):
                self.restore_file.replace(self.restore_file.with_suffix(".unreadable"))
            return {"all": f"{self.restore_file} cannot be read"}
        files = self._files()
        problems: dict[str, str] = {}
        for name, entry in entries.items():
            if name not in files or not isinstance(entry, dict):
                continue  # gone, such as a processor that was switched off: nothing to restore
            if read_text(files[name]) != entry.get("set"):
                continue
            problem = _write(files[name], str(entry.get("before")))
            if problem:
                problems[name] = problem
        if problems:
            keep = {name: entries[name] for name in problems}
            with contextlib.suppress(OSError):
                write_atomically(self.restore_file, json.dumps(keep, indent=1) + "\n")
        else:
            self._forget()
        return problems

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self.restore_file.unlink(missing_ok=True)

    def _files(self) -> dict[str, Path]:
        files = sorted(self.root.glob(f"{_CPUFREQ}/policy*/scaling_governor"))
        return {file.parent.name: file for file in files}


def _write(file: Path, governor: str) -> str | None:
    """Write and read back; returns why it failed, or None."""
    try:
        with file.open("w") as opened:
            opened.write(governor)
    except PermissionError:
        return "not permitted"
    except OSError as error:
        return error.strerror or str(error)
    now = read_text(file)
    return None if now == governor else f"the system answers {now}"


def read_text(file: Path) -> str | None:
    """The stripped text of a file; None if it is empty or cannot be read."""
    try:
        return file.read_text(errors="replace").strip() or None
    except OSError:
        return None
