"""Colours: a library has the same in every chart, and colour-blind readers can distinguish them.

The first seven are Okabe and Ito's, darkened or lightened for contrast with the page's ground.
Every chart also writes the library's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: (on a light ground, on a dark ground)
LIBRARY_COLOURS = (
    ("#0072b2", "#3f9fe0"),  # blue
    ("#d55e00", "#f0803c"),  # vermilion
    ("#009e73", "#1fbf92"),  # green
    ("#dd9a00", "#f0c04a"),  # orange
    ("#b8578f", "#e392c4"),  # purple
    ("#4fb0e6", "#9ad8fb"),  # sky
    ("#4b3f9e", "#a195f2"),  # indigo
    ("#8a8a1f", "#cccc55"),  # olive
    ("#882255", "#d0608f"),  # wine
    ("#6b7785", "#a9b4c0"),  # slate
)
#: Process start, import, read, load, first inference, not split: distinct in print, too.
PHASE_COLOURS = (
    ("#2f4a6d", "#e3ecf7"),
    ("#5f86b3", "#a9c3e2"),
    ("#3f9c8b", "#5fc4b0"),
    ("#a3bedb", "#6f93bf"),
    ("#e0a44c", "#e6ad5a"),
    ("#c9ced6", "#4a515c"),
)
#: Types of operators, the most time first; the last colour is for all other types.
OPERATOR_COLOURS = (
    ("#3d5a8a", "#8fb0e6"),
    ("#86add6", "#5479b0"),
    ("#d98c3f", "#f0ad66"),
    ("#f0cf9c", "#a9783c"),
    ("#3f8f7d", "#63c2ab"),
    ("#a5d6c8", "#38786a"),
    ("#8a4f7d", "#d391c4"),
    ("#d3aecb", "#8a5a80"),
    ("#a8a23a", "#d8d36e"),
    ("#b9bfc8", "#555e6b"),
)


@dataclass(frozen=True, slots=True)
class Theme:
    """The page's colours that a chart needs."""

    name: str
    ground: str
    ink: str
    muted: str
    line: str


LIGHT = Theme("light", ground="#ffffff", ink="#1c2430", muted="#5d6877", line="#e3e7ec")
DARK = Theme("dark", ground="#171c23", ink="#e6eaf0", muted="#98a3b2", line="#2b333e")
THEMES = (LIGHT, DARK)


def library_colours(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Library -> its (light, dark) colour; the colours repeat after ten libraries."""
    return {
        label: LIBRARY_COLOURS[position % len(LIBRARY_COLOURS)]
        for position, label in enumerate(sorted(labels))
    }


def operator_colours(types: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Type of operators -> its (light, dark) colour; the last of `types` stands for all others."""
    colours = (*OPERATOR_COLOURS[: len(types) - 1], OPERATOR_COLOURS[-1])
    return dict(zip(types, colours, strict=True))


def of_theme(pairs: Sequence[tuple[str, str]], theme: Theme) -> list[str]:
    return [dark if theme is DARK else light for light, dark in pairs]
