"""The warehouse: every result in one DuckDB file, loaded incrementally from the store."""

from .loading import Loaded, load, rebuild
from .querying import connect, query, records

__all__ = ["Loaded", "connect", "load", "query", "rebuild", "records"]
