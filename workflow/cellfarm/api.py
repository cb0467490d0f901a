"""The warehouse as data frames, for programs and notebooks.

import cellfarm
with cellfarm.open("results/cellfarm.duckdb") as farm:
    cells = farm.cells()                    # pandas, or frame="polars" or "arrow"
    samples = farm.samples("phase = 'warm'")
    farm.sql("SELECT library, avg(latency_ms) FROM cells GROUP BY 1")
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import duckdb

from .base.errors import UserError
from .warehouse import connect

Frame = Literal["pandas", "polars", "arrow"]
_METHODS = {"pandas": "df", "polars": "pl", "arrow": "to_arrow_table"}


class Warehouse:
    """A warehouse, read only. What the columns mean: `cellfarm export` writes the dictionary."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._connection = connect(self.path)

    def cells(self, where: str = "true", frame: Frame = "pandas") -> Any:
        """One row per cell of the last config that was run.

        Args:
            where: a condition in SQL.
        """
        return self._view("cells", where, frame)

    def history(self, where: str = "true", frame: Frame = "pandas") -> Any:
        """Every result ever loaded."""
        return self._view("history", where, frame)

    def samples(self, where: str = "true", frame: Frame = "pandas") -> Any:
        """Every raw sample; join with cells by `key`."""
        return self._view("samples", where, frame)

    def launches(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("launches", where, frame)

    def cold_starts(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("cold_starts", where, frame)

    def operators(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("operators", where, frame)

    def conditions(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("conditions", where, frame)

    def ratios(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("ratios", where, frame)

    def models(self, where: str = "true", frame: Frame = "pandas") -> Any:
        """Parameters and operations of every model that was built."""
        return self._view("models", where, frame)

    def devices(self, where: str = "true", frame: Frame = "pandas") -> Any:
        return self._view("devices", where, frame)

    def sql(self, query: str, frame: Frame = "pandas") -> Any:
        """The rows of a query.

        Raises:
            UserError: the query is wrong, or pandas, polars or pyarrow is not installed.
        """
        if frame not in list(_METHODS):  # a list, as `frame` may not be hashable
            raise UserError(f"frame: expected {', '.join(_METHODS)}; found '{frame}'")
        try:
            relation = self._connection.sql(query)
            if relation is None:
                raise UserError("the query has no rows: expected a SELECT")
            return getattr(relation, _METHODS[frame])()
        except duckdb.Error as error:
            raise UserError(f"the query failed: {error}") from error
        except ImportError as error:
            raise UserError(f"{error.name} is not installed: pip install {error.name}") from error

    def _view(self, name: str, where: str, frame: Frame) -> Any:
        return self.sql(f"SELECT * FROM {name} WHERE ({where})", frame)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
