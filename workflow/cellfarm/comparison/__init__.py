"""Two sides of the same cells against each other: did it get slower?

sides.py      what a name on the command line stands for: a version, a run, a warehouse, a config
verdicts.py   faster, slower, same or not comparable; pure
writing.py    as a table, Markdown or JSON
"""

from .sides import Side, open_side
from .verdicts import Comparison, compare_sides

__all__ = ["Comparison", "Side", "compare_sides", "open_side"]
