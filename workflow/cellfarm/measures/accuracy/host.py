"""Accuracy on the user's labelled pictures."""

from __future__ import annotations

from msgspec import Struct

from ..hosts import Context, Host, Summary
from ..launches import ACCURACY, Launches, of_mode
from .pictures import columns


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """There are none: the recipe names the pictures."""


class Accuracy(Host[Settings]):
    """See measure.yaml."""

    schema = Settings
    modes = (ACCURACY,)

    def applies(self, labelled: bool) -> bool:
        return labelled

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        return (ACCURACY,)

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        return Summary(columns(of_mode(launches, ACCURACY)))


HOST = Accuracy()
