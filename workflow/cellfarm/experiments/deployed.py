"""What launches need: a deployed cell, and what all launches of an experiment share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..devices import Interpreter, Transport
from ..measures.accuracy.pictures import Pictures
from ..measures.operators.profile import Vocabulary
from ..measures.quality.comparison import Quality
from ..wanted.protocols import Protocol
from .vendor_tools import VendorTool


@dataclass(frozen=True)
class Deployed:
    """What a cell's launches need: paths on the device, and data that stays on the host."""

    python: Interpreter
    payload: str
    artifact: str
    inputs: str
    description: Mapping[str, Any]  # model.json
    input_arrays: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    classes: bool
    variables: Mapping[str, str]
    heldout: str = ""
    heldout_reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    compression: Quality | None = None  # of a derived model's reference against its parent's
    vocabulary: Vocabulary | None = None
    payload_bytes: int | None = None
    tool: VendorTool | None = None
    labelled: str = ""
    pictures: Pictures | None = None
    native: str = ""  # the native runner, if it takes the runner's place


@dataclass(frozen=True)
class Setting:
    """What all launches of an experiment share.

    Args:
        lock: the descriptor of the device's lock, which the runner inherits.
    """

    transport: Transport
    protocol: Protocol
    lock: int
