"""Tolerances: when an output is right."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_Decibels = Annotated[
    float,
    Meta(
        description="the smallest ratio of signal to quantisation noise on the held-out inputs that is "
        "accepted, in dB"
    ),
]
_Agreement = Annotated[
    float,
    Meta(
        ge=0,
        le=1,
        description="the smallest share of held-out inputs with the same top-1 class that is accepted",
    ),
]


class Tolerance(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far an output may differ from the reference before it is wrong."""

    min_cosine: Annotated[
        float, Meta(ge=-1, le=1, description="the smallest cosine similarity that is accepted")
    ]
    max_relative_error: Annotated[
        float,
        Meta(
            gt=0,
            description="the largest absolute error that is accepted, as a share of the reference's "
            "largest magnitude",
        ),
    ]
    top1: Annotated[
        bool, Meta(description="whether the class with the largest logit must be the same")
    ] = False
    min_sqnr_db: _Decibels | None = None
    min_top1_agreement: _Agreement | None = None
