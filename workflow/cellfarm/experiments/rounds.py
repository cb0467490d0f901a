"""The order of launches. Pure, seeded, and the same after an interruption."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence


def round_order(keys: Sequence[str], seed: str, number: int) -> list[str]:
    """The order of round `number`: a random permutation that depends on seed and number alone.

    Interleaving in random order makes slow drift of the machine hit all cells alike (Abedi &
    Brecht, "Conducting repeatable experiments in highly variable cloud computing environments",
    ICPE 2017).
    """
    order = sorted(keys)
    random.Random(f"{seed}/{number}").shuffle(order)
    return order


def due(order: Sequence[str], taken: Mapping[str, int], number: int) -> Iterator[str]:
    """The keys of a round that still need their launch of it; `taken` counts launches by key.

    After a resume, cells that already had their launch of the interrupted round are passed over.
    """
    return (key for key in order if key in taken and taken[key] <= number)
