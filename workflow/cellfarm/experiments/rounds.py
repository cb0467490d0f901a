"""The order of launches: pure, seeded, and the same after an interruption."""

from __future__ import annotations

import random
from collections.abc import Sequence


def round_order(keys: Sequence[str], seed: str, number: int) -> list[str]:
    """The order of round `number`: a random permutation that depends on seed and number alone.

    Interleaving in random order makes slow drift of the machine hit all cells alike (Abedi &
    Brecht, "Conducting repeatable experiments in highly variable cloud computing environments",
    ICPE 2017).
    """
    order = sorted(keys)
    random.Random(f"{seed}/{number}").shuffle(order)
    return order
