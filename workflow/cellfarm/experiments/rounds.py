"""The order of launches. Pure, seeded, and the same after an interruption."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

#: What a launch does (see cellfarm.runner): `measure` takes warm samples, `cold` ends after the
#: first inference with a cold page cache, `quality` runs the held-out inputs, `profile` gives the time
#: of each operator, `accuracy` runs labelled pictures.
MEASURE, COLD, QUALITY, PROFILE = "measure", "cold", "quality", "profile"
ACCURACY = "accuracy"
#: Of the runner as well, and no launch (see cellfarm.experiments.gates).
GATE = "gate"
#: Those without a time: how quiet the device is does not matter to them.
UNTIMED = (QUALITY, ACCURACY)
#: Those that tell something further: where one fails, the cell has the rest.
FURTHER = (PROFILE, ACCURACY)


def round_order(keys: Sequence[str], seed: str, number: int) -> list[str]:
    """The order of round `number`: a random permutation that depends on seed and number alone.

    Interleaving in random order makes slow drift of the machine hit all cells alike (Abedi &
    Brecht, "Conducting repeatable experiments in highly variable cloud computing environments",
    ICPE 2017).
    """
    order = sorted(keys)
    random.Random(f"{seed}/{number}").shuffle(order)
    return order


def due(
    order: Sequence[str],
    taken: Mapping[str, Mapping[str, int]],
    number: int,
    cold_launches: int,
) -> Iterator[tuple[str, str]]:
    """The launches of a round that have not been taken: pairs of key and mode.

    Every cell that is not finished is measured once a round; in the first `cold_launches` rounds a
    cold start with a cold page cache follows. After a resume, what was launched in the interrupted
    round is passed over.

    Args:
        taken: launches by key and mode; a key that is not there needs none.
    """
    for key in order:
        if key not in taken:
            continue
        for mode, wanted in ((MEASURE, number + 1), (COLD, min(number + 1, cold_launches))):
            if taken[key].get(mode, 0) < wanted:
                yield key, mode
