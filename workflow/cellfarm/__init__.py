"""cellfarm: benchmark mobile deep-learning libraries on a farm of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .api import Warehouse


def open(warehouse: str | Path = "results/cellfarm.duckdb") -> Warehouse:
    """Open a warehouse to read it as data frames; see cellfarm.api.Warehouse.

    Raises:
        UserError: there is none, or another version made it.
    """
    from .api import Warehouse  # this file goes to devices, which have nothing of that

    return Warehouse(warehouse)
