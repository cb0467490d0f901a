"""Freezing: from an outlook to the plan of one run."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ..base.digests import DIGEST_LENGTH
from ..base.records import RECORD
from ..conversion.steps import (
    ArtifactStep,
    DeriveStep,
    DownloadStep,
    EnvironmentStep,
    ExportStep,
    ModelStep,
    Step,
)
from ..libraries import all_libraries
from ..wanted import tools
from .causes import payload_code
from .outlook import Outlook
from .plan import ExperimentStep, Plan

#: kind of a job -> the class of its steps
_KINDS: dict[str, type[Step]] = {
    "environment": EnvironmentStep, "download": DownloadStep, "model": ModelStep,
    "derived": DeriveStep, "export": ExportStep, "artifact": ArtifactStep,
}  # fmt: skip
_KIND_OF = {step: kind for kind, step in _KINDS.items()}


def freeze(outlook: Outlook, attempt: int = 0) -> Plan:
    """Everything that the jobs of a run need to know, whatever happens to the files meanwhile."""
    configuration, chains = outlook.configuration, outlook.chains
    config, stale = configuration.config, tuple(outlook.stale)
    steps: dict[str, Step] = {}
    inputs: dict[int, tuple[str, ...]] = {}
    for position, planned in enumerate(stale):
        if planned.refusal is None:
            on_device = (planned.needs.python, planned.needs.run)
            names = [name for name in on_device if name]
            for step in chains.steps_of(planned.artifact, names):
                steps.setdefault(step.output, step)
            environments = (chains.environment(name).output for name in names)
            inputs[position] = (*environments, f"{planned.artifact}/{RECORD}")
    kinds: dict[str, dict[str, Step]] = {kind: {} for kind in _KINDS}
    for step in steps.values():
        kinds[_KIND_OF[type(step)]][step.id] = step
    variants = sorted({planned.cell.variant for planned in stale})
    document: dict[str, Any] = {
        "current": outlook.current,
        "attempt": attempt,
        "protocol_name": config.protocol,
        "protocol": configuration.protocol,
        "tolerances": {name: configuration.tolerance(name) for name in variants},
        "precisions": {name: configuration.variants[name].precision for name in variants},
        "tools": {name: tools.of_library(config.tools, name) for name in config.tools},
        "runners": {
            name: payload_code(all_libraries()[name], configuration.protocol.measures)
            for name in sorted({planned.cell.library for planned in stale})
        },
        "models": {
            name: configuration.models[name]
            for name in sorted({planned.cell.model for planned in stale})
        },
        "devices": {
            name: configuration.devices[name]
            for name in sorted({planned.cell.device for planned in stale})
        },
        "cells": stale,
        **kinds,
        "preparation": tuple(sorted(steps)),
    }
    encoded = msgspec.json.encode(document, order="deterministic")
    identity = hashlib.sha256(encoded).hexdigest()[:DIGEST_LENGTH]
    positions: dict[tuple[str, str], list[int]] = {}
    for position, planned in enumerate(stale):
        positions.setdefault((planned.cell.device, planned.cell.model), []).append(position)
    experiments = {
        f"{device}/{model}": ExperimentStep(
            id=f"{device}/{model}",
            output=f"results/experiments/{identity}/{device}/{model}.json",
            inputs=tuple(dict.fromkeys(name for n in cells for name in inputs.get(n, ()))),
            device=device,
            model=model,
            cells=tuple(cells),
        )
        for (device, model), cells in positions.items()
    }
    return Plan(id=identity, experiment=experiments, **document)
