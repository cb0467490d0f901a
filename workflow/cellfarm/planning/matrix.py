"""The matrix: from a config to cells. Pure.

It reads like a CI matrix: the axes are multiplied, every `exclude` entry takes away the cells that
match all of its axes, and every `include` entry then adds the cells it describes (an axis that it
leaves out takes the config's own values). A gpu and an npu have no number of threads: see
COUNTS_THREADS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import msgspec

from ..base.cells import Cell
from ..base.errors import UserError
from ..wanted.configuration import Config, Entry

#: axis in an include or exclude entry -> the config's list of its values
AXES = {
    "model": "models",
    "library": "libraries",
    "variant": "variants",
    "device": "devices",
    "processor": "processors",
    "threads": "threads",
}
ALL_CORES = "all"
#: The processors whose inference a number of threads divides. The others have one cell whatever
#: `threads` says; what is left for the CPU (handing over, a driver's own work) has every core.
COUNTS_THREADS = frozenset({"cpu"})


def expand(
    config: Config,
    resolve_library: Callable[[str], tuple[str, str]],
    cores: Mapping[str, int],
    where: str = "config",
) -> list[Cell]:
    """All cells that the config asks for: sorted, each once.

    Args:
        resolve_library: `ncnn` or `ncnn@1.0` -> (`ncnn`, version); raises UserError if unknown.
        cores: device -> its number of cores, for `threads: all`.
        where: the file, for messages.

    Raises:
        UserError: an exclude entry that matches nothing (a typo would silently measure too much).
    """
    axes = {axis: list(getattr(config, plural)) for axis, plural in AXES.items()}
    cells = set(_multiply(axes, resolve_library, cores))
    for position, entry in enumerate(config.exclude):
        matching = {cell for cell in cells if _matches(cell, entry, resolve_library, cores)}
        if not matching:
            raise UserError(
                f"{where}: exclude[{position}] ({_shown(entry)}) matches no cell of the matrix; "
                "remove it or mend its spelling"
            )
        cells -= matching
    for entry in config.include:
        wanted = {axis: entry.values(axis) or axes[axis] for axis in AXES}
        cells.update(_multiply(wanted, resolve_library, cores))
    return sorted(cells)


def _multiply(
    axes: Mapping[str, Sequence[Any]],
    resolve_library: Callable[[str], tuple[str, str]],
    cores: Mapping[str, int],
) -> Iterable[Cell]:
    libraries = [resolve_library(name) for name in axes["library"]]
    for model, (library, version), variant, device, processor, threads in product(
        axes["model"], libraries, axes["variant"], axes["device"], axes["processor"],
        axes["threads"],
    ):  # fmt: skip
        every_core = threads == ALL_CORES or processor not in COUNTS_THREADS
        count = cores[device] if every_core else threads
        yield Cell(model, library, version, variant, device, processor, count)


def _matches(
    cell: Cell,
    entry: Entry,
    resolve_library: Callable[[str], tuple[str, str]],
    cores: Mapping[str, int],
) -> bool:
    return all(
        any(_is(cell, axis, value, resolve_library, cores) for value in values)
        for axis in AXES
        if (values := entry.values(axis)) is not None
    )


def _is(
    cell: Cell,
    axis: str,
    value: Any,
    resolve_library: Callable[[str], tuple[str, str]],
    cores: Mapping[str, int],
) -> bool:
    if axis == "library":
        library, version = resolve_library(value)
        # A bare name means the library at whichever version.
        return cell.library == library and ("@" not in value or cell.library_version == version)
    if axis == "threads" and value == ALL_CORES:
        return cell.threads == cores[cell.device]
    return bool(getattr(cell, axis) == value)


def _shown(entry: Entry) -> str:
    written = msgspec.to_builtins(entry)
    return ", ".join(
        f"{axis}: {list(value) if isinstance(value, tuple) else value}"
        for axis, value in written.items()
    )
