"""The same cells on two sides: did anything get slower?

sides.py      the results of a side: of a version, a run, a warehouse or a config
verdicts.py   faster, slower, same or not comparable; pure
writing.py    as a table, Markdown or JSON
"""

from .sides import Side, open_side
from .verdicts import Comparison, compare_sides

__all__ = ["Comparison", "Side", "compare_sides", "open_side"]
